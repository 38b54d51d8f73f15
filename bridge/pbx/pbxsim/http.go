package pbxsim

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"presencebridge/bridge/pbx/simkit"
)

// document is the description of the endpoint, the copy of this side. The connector's folder has the
// original; a test keeps them the same.
//
//go:generate cp ../micollab/openapi.yaml openapi.yaml
//go:embed openapi.yaml
var document string

// maxBody bounds what is read of a request, in bytes.
const maxBody = 64 << 10

func (s *Sim) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			abort(w)
			return
		}
		defer s.workers.Done()
		switch path := r.URL.EscapedPath(); {
		case path == "/openapi.yaml":
			if allow(w, r, http.MethodGet) {
				w.Header().Set("Content-Type", "application/yaml")
				_, _ = w.Write([]byte(document))
			}
		case path == "/sim" || strings.HasPrefix(path, "/sim/"):
			s.serveControl(w, r)
		case strings.HasPrefix(path, "/v1/"):
			s.serveV1(w, r, strings.TrimPrefix(path, "/v1/"))
		default:
			fail(w, http.StatusNotFound, "no_such_address", "there is nothing at this address")
		}
	})
}

// enter makes Close wait for a request, unless it came too late.
func (s *Sim) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.workers.Add(1)
	return true
}

// serveV1 is the endpoint. Paths are split before they are unescaped: an id may hold a slash.
func (s *Sim) serveV1(w http.ResponseWriter, r *http.Request, path string) {
	s.mu.Lock()
	s.stats.Requests++
	token := bearer(r)
	client, ok := s.clients[token]
	if ok = ok && token != ""; !ok {
		s.stats.Unauthorised++
	}
	s.mu.Unlock()
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="presence"`) // RFC 6750 section 3
		fail(w, http.StatusUnauthorized, "unauthorised", "the bearer token is missing or unknown")
		return
	}
	id, isPresence := strings.CutSuffix(path, "/presence")
	id, isUser := strings.CutPrefix(id, "users/")
	switch {
	case path == "users":
		if allow(w, r, http.MethodGet) && s.mayAnswer(w) {
			s.serveUsers(w, r)
		}
	case path == "statuses":
		if allow(w, r, http.MethodGet) && s.mayAnswer(w) {
			reply(w, http.StatusOK, wireStatuses{s.cfg.Statuses})
		}
	case path == "events":
		if allow(w, r, http.MethodGet) && s.mayAnswer(w) {
			s.serveEvents(w, r)
		}
	case isPresence && isUser && id != "" && !strings.Contains(id, "/"):
		s.servePresence(w, r, id, client)
	default:
		fail(w, http.StatusNotFound, "no_such_address", "there is nothing at this address")
	}
}

func (s *Sim) servePresence(w http.ResponseWriter, r *http.Request, escaped, client string) {
	id, err := url.PathUnescape(escaped)
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, "bad_request", "the user id is not readable")
	case !allow(w, r, http.MethodGet, http.MethodPut):
	case r.Method == http.MethodPut:
		s.servePut(w, r, id, client)
	case s.mayAnswer(w):
		p, err := s.visible(id)
		if err != nil {
			fail(w, http.StatusNotFound, "no_such_user", "there is no such user")
			return
		}
		replyPresence(w, p)
	}
}

// serveUsers is one page. `after` is opaque; it names the last id seen, so that people who come and go
// between two pages make nobody else be missed.
func (s *Sim) serveUsers(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := s.cfg.PageLimit
	if v := q.Get("limit"); v != "" {
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil && !errors.Is(err, strconv.ErrRange) || n == 0 {
			fail(w, http.StatusBadRequest, "bad_request", "limit must be a whole number from 1")
			return
		}
		limit = int(min(n, uint64(limit)))
	}
	after, ok := readAfter(q.Get("after"))
	if !ok {
		fail(w, http.StatusBadRequest, "bad_request", "after is none of our page marks")
		return
	}
	reply(w, http.StatusOK, s.page(after, limit))
}

func (s *Sim) page(after string, limit int) wirePage {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := slices.BinarySearch(s.order, after)
	if found {
		i++
	}
	ids := s.order[i:min(i+limit, len(s.order))]
	page := wirePage{Users: make([]wireUser, 0, len(ids))}
	for _, id := range ids {
		u := s.users[id]
		page.Users = append(page.Users, wireUser{u.User, s.seen(u)})
	}
	if i+limit < len(s.order) {
		page.Next = makeAfter(ids[len(ids)-1])
	}
	return page
}

func makeAfter(id string) string { return base64.RawURLEncoding.EncodeToString([]byte("p1:" + id)) }

func readAfter(mark string) (id string, ok bool) {
	if mark == "" {
		return "", true
	}
	b, err := base64.RawURLEncoding.DecodeString(mark)
	if err != nil {
		return "", false
	}
	return strings.CutPrefix(string(b), "p1:")
}

// servePut is PUT /v1/users/{id}/presence.
func (s *Sim) servePut(w http.ResponseWriter, r *http.Request, id, client string) {
	put, err := readPut(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	match, err := readIfMatch(r.Header.Values("If-Match"))
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	do := func() outcome { return s.write(id, put, match, "api:"+client) }
	if s.putFault(w, id, do) || !s.mayAnswer(w) {
		return
	}
	s.answerPut(w, do())
}

func (s *Sim) answerPut(w http.ResponseWriter, out outcome) {
	s.slowAfter()
	switch out.status {
	case http.StatusOK:
		replyPresence(w, out.presence)
	case http.StatusNotFound:
		fail(w, out.status, "no_such_user", "there is no such user")
	case http.StatusPreconditionFailed:
		fail(w, out.status, "version_changed", "If-Match is not the present version")
	default:
		fail(w, out.status, "unknown_status", "this site has no such status")
	}
}

func readPut(body io.Reader) (wirePut, error) {
	b, err := io.ReadAll(body)
	if err != nil {
		return wirePut{}, errors.New("the body is too long or broke off")
	}
	var put wirePut
	if !utf8.Valid(b) || json.Unmarshal(b, &put) != nil {
		return put, errors.New("the body is no JSON object with status and message as strings")
	}
	if put.Status == nil {
		return put, errors.New("status is missing")
	}
	return put, nil
}

// ifMatch is a precondition: nil is none.
type ifMatch func(version uint64) bool

// readIfMatch reads RFC 9110 section 13.1.1: "*", or a list of entity tags, compared strongly, so that a
// weak one never matches.
func readIfMatch(headers []string) (ifMatch, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	all := strings.TrimSpace(strings.Join(headers, ","))
	if all == "*" {
		return func(uint64) bool { return true }, nil
	}
	var tags []string
	for tag := range strings.SplitSeq(all, ",") {
		tag = strings.TrimSpace(tag)
		strong := strings.TrimPrefix(tag, "W/")
		if len(strong) < 2 || strong[0] != '"' || strong[len(strong)-1] != '"' || strings.Contains(strong[1:len(strong)-1], `"`) {
			return nil, errors.New(`If-Match must be "<version>", in double quotes`)
		}
		tags = append(tags, tag)
	}
	return func(v uint64) bool { return slices.Contains(tags, etag(v)) }, nil
}

func etag(version uint64) string { return fmt.Sprintf("%q", strconv.FormatUint(version, 10)) }

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// allow answers 405 for any other method.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", ")) // RFC 9110 section 15.5.6
	fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "this address takes "+strings.Join(methods, ", "))
	return false
}

func replyPresence(w http.ResponseWriter, p Presence) {
	w.Header().Set("ETag", etag(p.Version))
	reply(w, http.StatusOK, p)
}

func reply(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // strings, numbers and times only
		status, b = http.StatusInternalServerError, []byte(`{"error":"internal","message":"cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client went away: nobody is left to be told
}

func fail(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, wireError{Error: code, Message: message})
}

func failRetry(w http.ResponseWriter, status int, after time.Duration, date bool) {
	w.Header().Set("Retry-After", simkit.RetryAfter(after, date))
	fail(w, status, "too_many_requests", "wait before the next request")
}

// abort breaks the connection that a request came on, instead of answering or of ending an answer.
func abort(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil { // HTTP/2 is never offered, and a connection is hijacked once only
		_ = conn.Close()
	}
}

package graphsim

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// maxRequest bounds what a client may send.
const maxRequest = 4 << 20

// reply is the answer to a request.
type reply struct {
	status int
	body   any // encoded as JSON; []byte is sent as it is; nil is an empty body
	header http.Header
}

// effect is what an accepted presence write does, now or later.
type effect func()

// call is one request to Graph, after authentication.
type call struct {
	sim  *Sim
	r    *http.Request
	id   *identity
	body []byte
}

// operation is one thing that Graph can do.
type operation struct {
	name        string
	class       class
	mutates     bool
	application []string // permissions of which an application needs one
	delegated   []string // permissions of which a user's token needs one; nil: not for users
	cost        func(r *http.Request) int
	serve       func(c *call) (reply, effect)
}

// graph serves an operation: identity, budget, permission, faults, then the work itself.
func (s *Sim) graph(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := s.answer(op, r)
		s.counts.request(op.name, a.status)
		if a.status == 0 {
			// The sanctioned way to cut a connection (or a stream of HTTP/2) without an answer.
			panic(http.ErrAbortHandler) //nolint:forbidigo // it is how net/http is told
		}
		s.write(w, r, a)
	}
}

// cut is the reply that is none: the connection breaks.
func cut() reply { return reply{} }

// answer works out the reply, doing what was asked on the way.
func (s *Sim) answer(op operation, r *http.Request) reply {
	id, err := s.login.identify(r)
	if err != nil {
		return refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", err.Error())
	}
	cost := 1
	if op.cost != nil {
		cost = op.cost(r)
	}
	if wait, ok := s.budget.take(id.app, op.class, cost); !ok {
		return s.throttled(op.class, wait)
	}
	body, err := readBody(r)
	if err != nil {
		return refuse(http.StatusBadRequest, "BadRequest", err.Error())
	}
	c := &call{sim: s, r: r, id: id, body: body}
	if denied, ok := c.denied(op); ok {
		return denied
	}
	return s.suffer(op, c)
}

// denied is the refusal for want of a permission.
func (c *call) denied(op operation) (reply, bool) {
	switch {
	case c.id.may(op.application, op.delegated):
		return reply{}, false
	case op.class == classDirectory:
		return refuse(http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."), true
	default:
		return refuse(http.StatusForbidden, "Forbidden", ""), true // the message is empty, as observed
	}
}

// suffer serves the operation under the present faults.
func (s *Sim) suffer(op operation, c *call) reply {
	f, chance := s.cruelty.faults(), s.cruelty.requests
	switch {
	case chance.hit(f.Throttle):
		return s.throttled(op.class, f.RetryAfter)
	case chance.hit(f.ServerError):
		return s.broken(500, 502, 503, 504)
	case op.mutates && chance.hit(f.Refuse):
		return refuse(http.StatusBadRequest, "BadRequest", "The request was refused.")
	}
	slow := chance.hit(f.Slow)
	if slow && chance.hit(0.5) {
		s.dawdle(c.r, f.SlowBy)
		slow = false
	}
	a, e := op.serve(c)
	a = s.land(op, f, a, e)
	if slow {
		s.dawdle(c.r, f.SlowBy)
	}
	return a
}

// land has an accepted write take effect: at once, late, or at once and denied.
func (s *Sim) land(op operation, f *Faults, a reply, e effect) reply {
	chance := s.cruelty.requests
	if e == nil {
		if op.mutates && a.status < 300 && chance.hit(f.AppliedFailed) {
			return s.broken(503, 0)
		}
		return a
	}
	do := func() {
		e()
		s.counts.do(func(c *Stats) { c.Writes[op.name]++ })
	}
	switch {
	case chance.hit(f.AppliedLate):
		s.later(chance.upTo(f.LandWithin), do)
		return s.broken(504, 0)
	case chance.hit(f.AppliedFailed):
		do()
		return s.broken(503, 0)
	}
	if lag := chance.upTo(max(s.cfg.WriteLag, f.WriteLag)); lag > 0 {
		s.later(lag, do)
	} else {
		do()
	}
	return a
}

// later has a write take effect after a while.
func (s *Sim) later(d time.Duration, do func()) {
	s.counts.do(func(c *Stats) { c.Pending++ })
	s.agenda.after(d, func() {
		do()
		s.counts.do(func(c *Stats) { c.Pending-- })
	})
}

// dawdle waits up to most, or until the client has gone.
func (s *Sim) dawdle(r *http.Request, most time.Duration) {
	timer := time.NewTimer(s.cruelty.requests.upTo(most))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
}

// broken is one of the statuses of a service in trouble; 0 is a connection that breaks.
func (s *Sim) broken(statuses ...int) reply {
	i := int(s.cruelty.requests.upTo(time.Duration(len(statuses) - 1)))
	switch status := statuses[i]; status {
	case 0:
		return cut()
	case http.StatusInternalServerError:
		return refuse(status, "InternalServerError", "Internal server error.")
	case http.StatusBadGateway:
		return refuse(status, "BadGateway", "")
	case http.StatusGatewayTimeout:
		return refuse(status, "GatewayTimeout", "The gateway did not receive a response in time.")
	default:
		return refuse(status, "ServiceUnavailable", "Service Unavailable")
	}
}

// throttled is the refusal of a request too many; Retry-After is in whole seconds, at least one.
func (s *Sim) throttled(c class, wait time.Duration) reply {
	s.counts.do(func(x *Stats) { x.Refused[string(c)]++ })
	a := refuse(http.StatusTooManyRequests, "TooManyRequests", "Too many requests")
	a.header = http.Header{"Retry-After": {strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))}}
	return a
}

// graphError is the body of Graph's refusals.
type graphError struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   struct {
			Date      string `json:"date"`
			Request   string `json:"request-id"`
			ClientReq string `json:"client-request-id"`
		} `json:"innerError"`
	} `json:"error"`
}

// refuse is a refusal as Graph words it.
func refuse(status int, code, message string) reply {
	var e graphError
	e.Error.Code, e.Error.Message = code, message
	return reply{status: status, body: &e}
}

// write sends the reply.
func (s *Sim) write(w http.ResponseWriter, r *http.Request, a reply) {
	request := s.draw.guid()
	clientRequest := r.Header.Get("client-request-id")
	if clientRequest == "" {
		clientRequest = request
	}
	w.Header().Set("request-id", request)
	w.Header().Set("client-request-id", clientRequest)
	for k, v := range a.header {
		w.Header()[k] = v
	}
	if e, ok := a.body.(*graphError); ok {
		e.Error.Inner.Date = time.Now().UTC().Format("2006-01-02T15:04:05")
		e.Error.Inner.Request, e.Error.Inner.ClientReq = request, clientRequest
		if a.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q, authorization_uri=%q", "", s.base+"/common/oauth2/authorize"))
		}
	}
	writeJSON(w, a.status, a.body)
}

// writeJSON sends a body as JSON. A client that has gone is not our trouble.
func writeJSON(w http.ResponseWriter, status int, body any) {
	var raw []byte
	switch b := body.(type) {
	case nil:
		w.WriteHeader(status)
		return
	case []byte:
		raw = b
	default:
		var err error
		if raw, err = json.Marshal(b); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json; odata.metadata=minimal; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// readBody reads what the client sent, compressed or not.
func readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, fmt.Errorf("the body is not gzip as Content-Encoding says: %w", err)
		}
		in = unzipped
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 && r.ContentLength <= maxRequest {
		buffer.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	n, err := buffer.ReadFrom(io.LimitReader(in, maxRequest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the body: %w", err)
	case n > maxRequest:
		return nil, errors.New("the body is too large")
	}
	return buffer.Bytes(), nil
}

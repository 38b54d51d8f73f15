// Package conformance tries a site's own adapter, the MiCollab-style endpoint in front of some PBX, with the suite
// that every connector passes. All it needs is the address and a token: a proxy of its own between the connector
// and the site breaks connections, delays answers and loses them, so that the site need not be able to.
//
// What only people can do (picking a status by hand, making calls) is skipped by name, unless the site offers the
// few calls of a control interface for its tests; see [Config.Control].
package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/pbxtest"
	"presencebridge/bridge/presence"
)

// Config says what to try.
type Config struct {
	// URL is the endpoint's address, without /v1. Required.
	URL string
	// Token is the bearer token. Required.
	Token string
	// CAFile holds the authorities that sign the certificate of URL. Empty: the system's.
	CAFile string
	// Users are ids of at least three users whose status may be changed; it is given back at the end. Empty: the first
	// three that the site lists.
	Users []string
	// Control is the address below which the site moves people for tests, as pbxsim does below /sim: POST
	// users/ID/pick {"status"}, and users/ID/{ring,call,hold,end,offline,online}. Empty: nobody can.
	Control string
	// Resumes: the site keeps events for a while, so that a broken stream goes on where it was.
	Resumes bool
	// Timeout bounds one request. Default 5 s.
	Timeout time.Duration
	// Patience bounds the waiting for an event. Default 30 s.
	Patience time.Duration
	// Run selects tests by name; nil is all.
	Run *regexp.Regexp
}

// site is the endpoint as seen without the connector.
type site struct {
	cfg   Config
	base  *url.URL
	http  *http.Client
	pool  *x509.CertPool
	proxy *proxy

	users         []user
	base0         presence.Status // what users begin with
	first, second presence.Status
	token         string // that the connector uses
	others        bool
}

type user struct {
	ID       string `json:"id"`
	Presence state  `json:"presence"`
}

type state struct {
	Line    string `json:"line"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Run tries the site and tells what became of each test. An error says that the suite could not begin, or that the
// users' status could not be given back.
func Run(ctx context.Context, cfg Config, tell func(pbxtest.Outcome)) (err error) {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 30 * time.Second
	}
	s, err := newSite(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.proxy.close(), s.giveBack(context.WithoutCancel(ctx))) }()
	target := pbxtest.Target{Start: s.world, Patience: cfg.Patience, Resumes: cfg.Resumes}
	return pbxtest.Try(ctx, target, cfg.Run, tell)
}

func newSite(ctx context.Context, cfg Config) (*site, error) {
	u, err := url.Parse(strings.TrimRight(cfg.URL, "/"))
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("url %q: give the address of the endpoint in full, without /v1, for example https://pbx.example.com", cfg.URL)
	}
	s := &site{cfg: cfg, base: u, token: cfg.Token}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		if s.pool = x509.NewCertPool(); !s.pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate; give the authority's in PEM form", cfg.CAFile)
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}}
	s.http = &http.Client{Transport: transport, Timeout: cfg.Timeout}
	if err := s.chooseUsers(ctx); err != nil {
		return nil, err
	}
	if err := s.chooseStatuses(ctx); err != nil {
		return nil, err
	}
	s.proxy, err = newProxy(ctx, u, transport)
	return s, err
}

// call sends one request of the endpoint, or of the control interface, and reads the answer.
func (s *site) call(ctx context.Context, method, address string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.cfg.Token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s answers %s: %s", method, req.URL.Path, resp.Status, strings.TrimSpace(string(b[:min(len(b), 200)])))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, req.URL.Path, err)
	}
	return nil
}

func (s *site) at(path string) string { return s.base.String() + path }

// presence reads one user past the connector.
func (s *site) presence(ctx context.Context, id string) (state, error) {
	var st state
	err := s.call(ctx, http.MethodGet, s.at("/v1/users/"+url.PathEscape(id)+"/presence"), nil, &st)
	return st, err
}

// chooseUsers finds out whom the suite may move, and how they stand.
func (s *site) chooseUsers(ctx context.Context) error {
	var page struct {
		Users []user `json:"users"`
		Next  string `json:"next"`
	}
	if err := s.call(ctx, http.MethodGet, s.at("/v1/users?limit=100"), nil, &page); err != nil {
		return fmt.Errorf("the site's users cannot be listed: %w", err)
	}
	ids := s.cfg.Users
	if len(ids) == 0 {
		for _, u := range page.Users {
			if ids = append(ids, u.ID); len(ids) == 3 {
				break
			}
		}
	}
	if len(ids) < 3 {
		return fmt.Errorf("the suite needs three users and has %d; give three ids whose status may be changed", len(ids))
	}
	s.others = page.Next != "" || len(page.Users) > len(ids)
	for _, id := range ids {
		st, err := s.presence(ctx, id)
		if err != nil {
			return fmt.Errorf("user %q: %w", id, err)
		}
		s.users = append(s.users, user{id, st})
	}
	return nil
}

// chooseStatuses picks three statuses: one to begin with, and two to write.
func (s *site) chooseStatuses(ctx context.Context) error {
	var list struct {
		Statuses []struct {
			Name string `json:"name"`
			Kind string `json:"kind"`
		} `json:"statuses"`
	}
	if err := s.call(ctx, http.MethodGet, s.at("/v1/statuses"), nil, &list); err != nil {
		return fmt.Errorf("the site's statuses cannot be listed: %w", err)
	}
	var all []presence.Status
	for _, x := range list.Statuses {
		k, _ := presence.ParseKind(x.Kind) // an unknown kind is one that policy does not use
		all = append(all, presence.Status{Name: x.Name, Kind: k})
	}
	if len(all) < 3 {
		return fmt.Errorf("the suite needs three statuses and GET /v1/statuses lists %d", len(all))
	}
	// Whatever the site calls them: those that the bridge would write first.
	order := []presence.Kind{presence.KindBusy, presence.KindDND, presence.KindAway, presence.KindOut, presence.KindCustom, presence.KindUnknown, presence.KindAvailable}
	slices.SortStableFunc(all, func(a, b presence.Status) int { return slices.Index(order, a.Kind) - slices.Index(order, b.Kind) })
	s.first, s.second, s.base0 = all[0], all[1], all[len(all)-1]
	for _, st := range all { // of another kind, if there is one
		if st.Kind != s.first.Kind && st != s.base0 {
			s.second = st
			break
		}
	}
	return nil
}

// put writes a status past the connector.
func (s *site) put(ctx context.Context, id, status string, message *string) error {
	in := map[string]any{"status": status}
	if message != nil {
		in["message"] = *message
	}
	return s.call(ctx, http.MethodPut, s.at("/v1/users/"+url.PathEscape(id)+"/presence"), in, nil)
}

// giveBack gives the users what they showed before.
func (s *site) giveBack(ctx context.Context) error {
	var errs []error
	for _, u := range s.users {
		if err := s.put(ctx, u.ID, u.Presence.Status, &u.Presence.Message); err != nil {
			errs = append(errs, fmt.Errorf("the status of user %q was not given back, it was %q: %w", u.ID, u.Presence.Status, err))
		}
	}
	return errors.Join(errs...)
}

// world is the site at the beginning of a test: everybody shows what they begin with, and nothing is broken.
func (s *site) world(t testing.TB) *pbxtest.World {
	s.proxy.mend()
	for _, u := range s.users {
		if err := s.put(t.Context(), u.ID, s.base0.Name, nil); err != nil {
			t.Fatal(err)
		}
	}
	w := &pbxtest.World{
		Others: s.others, First: s.first, Second: s.second,
		Connect:     func(t testing.TB) pbx.Connector { return s.connect(t, time.Minute) },
		ConnectWary: func(t testing.TB) pbx.Connector { return s.connect(t, min(20*time.Second, s.cfg.Patience*2/3)) },
		Shown:       func(id string) pbx.State { return s.shown(t, id) },
		Pick:        func(id, status string) error { return s.put(t.Context(), id, status, nil) },
		PickedByUs:  true,
		CutWatch:    s.proxy.cut, StallWatch: s.proxy.stall, Slow: s.proxy.slow, Break: s.proxy.breakAll, Throttle: s.proxy.throttle,
		FailApplied: s.proxy.failApplied, Revoke: s.proxy.revoke,
	}
	for _, u := range s.users {
		w.Users = append(w.Users, u.ID)
	}
	if s.cfg.Control != "" {
		w.PickedByUs = false
		w.Pick = func(id, status string) error {
			return s.move(t.Context(), id, "pick", map[string]string{"status": status})
		}
		w.Line = func(id string, to presence.Line) error { return s.line(t.Context(), id, to) }
		for _, u := range s.users {
			if err := w.Line(u.ID, presence.LineIdle); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

// shown asks past the connector. An answer that does not come is told as a state that nobody shows.
func (s *site) shown(t testing.TB, id string) pbx.State {
	st, err := s.presence(t.Context(), id)
	if err != nil {
		return pbx.State{Status: presence.Status{Name: "?"}, Message: err.Error()}
	}
	return pbxtest.State(st.Line, st.Status, st.Message)
}

func (s *site) connect(t testing.TB, silence time.Duration) pbx.Connector {
	c, err := micollab.New(micollab.Config{
		Account: "conformance", Name: "site", URL: s.proxy.url, Timeout: s.cfg.Timeout, Silence: silence,
		BackoffMin: 20 * time.Millisecond, BackoffMax: time.Second, Debounce: time.Second,
		Token: func() (string, error) { return s.token, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// move has the control interface do something.
func (s *site) move(ctx context.Context, id, verb string, in any) error {
	return s.call(ctx, http.MethodPost, strings.TrimRight(s.cfg.Control, "/")+"/users/"+url.PathEscape(id)+"/"+verb, in, nil)
}

// line brings a line into a state, from whichever it is in.
func (s *site) line(ctx context.Context, id string, to presence.Line) error {
	verbs := map[presence.Line][]string{
		presence.LineOffline: {"offline"}, presence.LineIdle: {"offline", "online"}, presence.LineRinging: {"offline", "online", "ring"},
		presence.LineInCall: {"offline", "online", "call"}, presence.LineOnHold: {"offline", "online", "call", "hold"},
	}[to]
	for _, v := range verbs {
		if err := s.move(ctx, id, v, nil); err != nil {
			return err
		}
	}
	return nil
}

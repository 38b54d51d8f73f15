package threecx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/link"
)

// Client is the connector of one PBX. Its methods are safe for concurrent use.
type Client struct {
	cfg     Config
	http    *http.Client
	metrics *link.Metrics
	tracker *link.Tracker

	seq      atomic.Uint64 // of events
	watching atomic.Bool

	tokens   tokens
	messages messageBook
	calls    *callBook
	users    *userBook
	// reconcile asks the watch to read every call.
	reconcile chan struct{}
}

var _ pbx.Connector = (*Client)(nil)

// New makes a connector. It does not talk to the PBX yet.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	hc, err := newHTTPClient(cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, http: hc, tracker: link.NewTracker(cfg.Debounce), reconcile: make(chan struct{}, 1)}
	if c.metrics, err = link.NewMetrics(cfg.Metrics, cfg.Account, cfg.Name); err != nil {
		return nil, fmt.Errorf("threecx: %w", err)
	}
	c.tokens.init(c)
	c.calls = newCallBook(cfg.Grace)
	c.users = newUserBook(c.calls)
	return c, nil
}

// Close gives idle connections back. A watch ends with its context.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Capabilities implements [pbx.Connector]: a 3CX overwrites the status, and has neither versions nor authors.
func (c *Client) Capabilities() pbx.Capabilities { return pbx.Capabilities{Messages: true} }

// Connection implements [pbx.Connector].
func (c *Client) Connection() pbx.Connection { return c.tracker.Show() }

// warn shows a warning to people and in the metrics, or takes it away.
func (c *Client) warn(w pbx.Warning) {
	c.tracker.Warn(w)
	c.metrics.Warning(w.Code, w.Text != "")
}

func (c *Client) wantReconcile() {
	select {
	case c.reconcile <- struct{}{}:
	default:
	}
}

// userID reads a user's id; anything else than a number above 0 is nobody's.
func userID(op, user string) (int, error) {
	id, err := strconv.Atoi(user)
	if err != nil || id <= 0 || strconv.Itoa(id) != user {
		return 0, &pbx.Error{Kind: pbx.Gone, Op: op, Err: fmt.Errorf("%q is no user id", user)}
	}
	return id, nil
}

// fields are what we read of a user.
const fields = "Id,Number,DisplayName,FirstName,LastName,EmailAddress,CurrentProfileName,IsRegistered"

// Read implements [pbx.Connector].
func (c *Client) Read(ctx context.Context, user string) (pbx.State, error) {
	const op = "get user"
	id, err := userID(op, user)
	if err != nil {
		return pbx.State{}, err
	}
	return c.read(ctx, op, id)
}

func (c *Client) read(ctx context.Context, op string, id int) (pbx.State, error) {
	number := c.users.begin()
	q := url.Values{"$select": {fields}, "$expand": {"ForwardingProfiles"}}
	body, err := c.do(ctx, request{
		op: op, area: areaXAPI, method: http.MethodGet, path: fmt.Sprintf("/xapi/v1/Users(%d)?%s", id, query(q)), maxBody: maxOne, one: true,
	})
	if err != nil {
		return pbx.State{}, err
	}
	u, err := decodeUser(body)
	if err == nil && u.ID != id {
		err = errors.New("another user than asked for")
	}
	if err != nil {
		c.metrics.Bad("answer")
		return pbx.State{}, bad(op, err)
	}
	dn, err := c.callsOf(ctx, u.Number)
	if err != nil {
		return pbx.State{}, err
	}
	line, differs := c.calls.view(u.Number, dn, time.Now())
	if differs {
		c.wantReconcile()
	}
	st := u.state(line)
	c.users.answer(u, st, number)
	return st, nil
}

// query writes a query with the $ that OData's options begin with.
func query(q url.Values) string {
	out := ""
	for _, name := range []string{"$select", "$expand", "$orderby", "$count", "$top", "$skip"} {
		if v := q.Get(name); v != "" {
			if out != "" {
				out += "&"
			}
			out += name + "=" + url.QueryEscape(v)
		}
	}
	return out
}

// callsOf reads the calls of one extension, nil if we may not monitor it.
func (c *Client) callsOf(ctx context.Context, number string) (*wireDN, error) {
	const op = "get calls of user"
	if !isDN(number) {
		return nil, nil //nolint:nilnil // such an extension cannot be monitored
	}
	body, err := c.do(ctx, request{op: op, area: areaCalls, method: http.MethodGet, path: "/callcontrol/" + number, maxBody: maxOne, one: true})
	switch {
	case isStatus(err, http.StatusForbidden), isStatus(err, http.StatusNotFound):
		return nil, nil //nolint:nilnil // as is one that is not on the client's list
	case err != nil:
		return nil, err
	}
	var dn wireDN
	if err := json.Unmarshal(body, &dn); err != nil {
		c.metrics.Bad("answer")
		return nil, bad(op, err)
	}
	return &dn, nil
}

// allCalls reads every call of the extensions that we may monitor.
func (c *Client) allCalls(ctx context.Context) ([]wireDN, error) {
	const op = "list calls"
	body, err := c.do(ctx, request{op: op, area: areaCalls, method: http.MethodGet, path: "/callcontrol", maxBody: maxCalls})
	if err != nil {
		return nil, err
	}
	dns, err := decodeCalls(body)
	if err != nil {
		c.metrics.Bad("answer")
		return nil, bad(op, err)
	}
	return dns, nil
}

// Apply implements [pbx.Connector]: one PATCH, and a read of what shows then.
func (c *Client) Apply(ctx context.Context, user string, w pbx.Write) (pbx.State, error) {
	const op = "set profile"
	id, err := userID(op, user)
	if err != nil {
		return pbx.State{}, err
	}
	name, err := wireName(w.Status, c.users.of(id).ForwardingProfiles)
	if err != nil {
		return pbx.State{}, &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
	}
	change := map[string]any{"CurrentProfileName": name}
	var kept map[string]ownMessage
	if w.Message != nil || c.messages.left(id, name) {
		if change["ForwardingProfiles"], kept, err = c.withMessage(ctx, id, name, w.Message); err != nil {
			return pbx.State{}, err
		}
	}
	body, err := json.Marshal(change)
	if err != nil {
		return pbx.State{}, &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
	}
	_, err = c.do(ctx, request{
		op: op, area: areaWrite, method: http.MethodPatch, path: fmt.Sprintf("/xapi/v1/Users(%d)", id), body: body,
		contentType: "application/json", maxBody: maxOne, one: true,
	})
	if err != nil {
		c.users.doubt(id)
		return pbx.State{}, err
	}
	if kept != nil {
		c.messages.keep(id, kept)
	}
	st, err := c.read(ctx, op, id)
	if err != nil {
		c.users.doubt(id)
		if pbx.KindOf(err) != pbx.Gone { // what the write did is not known, whatever kept us from reading it
			err = &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: err}
		}
	}
	return st, err
}

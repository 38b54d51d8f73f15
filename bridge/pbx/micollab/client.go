package micollab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/link"
	"presencebridge/bridge/presence"
)

// Client is the connector of one PBX. Its methods are safe for concurrent use.
type Client struct {
	cfg     Config
	http    *http.Client
	metrics *link.Metrics
	tracker *link.Tracker

	seq      atomic.Uint64 // of events
	watching atomic.Bool

	token    tokenCache
	statuses statusCache
	self     selfName
	users    userBook
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
	c := &Client{cfg: cfg, http: hc, tracker: link.NewTracker(cfg.Debounce)}
	if c.metrics, err = link.NewMetrics(cfg.Metrics, cfg.Account, cfg.Name); err != nil {
		return nil, err
	}
	c.token.read = cfg.Token
	c.statuses.init()
	c.users.init()
	if cfg.LearntClient != nil {
		name, err := cfg.LearntClient.Load()
		if err != nil {
			return nil, fmt.Errorf("micollab: load the learnt client: %w", err)
		}
		c.self.name = name
	}
	return c, nil
}

// Close gives idle connections back. A watch ends with its context.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Capabilities implements [pbx.Connector].
func (c *Client) Capabilities() pbx.Capabilities {
	return pbx.Capabilities{Versions: true, Authors: true, Messages: true}
}

// Connection implements [pbx.Connector].
func (c *Client) Connection() pbx.Connection { return c.tracker.Show() }

// Read implements [pbx.Connector].
func (c *Client) Read(ctx context.Context, user string) (pbx.State, error) {
	const op = "get presence"
	if err := checkUser(op, user); err != nil {
		return pbx.State{}, err
	}
	if err := c.ensureStatuses(ctx); err != nil {
		return pbx.State{}, err
	}
	res, err := c.do(ctx, request{op: op, method: http.MethodGet, path: presencePath(user), maxBody: maxPresence, user: true})
	if err != nil {
		return pbx.State{}, err
	}
	return c.answeredState(ctx, op, user, res)
}

// Apply implements [pbx.Connector]. A status is sent in the site's own spelling; one without a name is the
// first of its kind.
func (c *Client) Apply(ctx context.Context, user string, w pbx.Write) (pbx.State, error) {
	const op = "put presence"
	if err := checkUser(op, user); err != nil {
		return pbx.State{}, err
	}
	if err := c.ensureStatuses(ctx); err != nil {
		return pbx.State{}, err
	}
	name, err := c.siteName(w.Status)
	if err != nil {
		return pbx.State{}, &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
	}
	body, err := encodeWrite(name, w.Message)
	if err != nil {
		return pbx.State{}, &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
	}
	rq := request{op: op, method: http.MethodPut, path: presencePath(user), body: body, maxBody: maxPresence, user: true}
	if w.IfVersion != 0 {
		rq.ifMatch = `"` + strconv.FormatUint(w.IfVersion, 10) + `"`
	}
	before, known := c.users.last(user)
	res, err := c.do(ctx, rq)
	if err != nil {
		return pbx.State{}, err
	}
	if p, err := decodePresence(res); err == nil && known {
		c.learn(before, p, w.IfVersion, name)
	}
	return c.answeredState(ctx, op, user, res)
}

func (c *Client) answeredState(ctx context.Context, op, user string, body []byte) (pbx.State, error) {
	p, err := decodePresence(body)
	if err != nil {
		c.metrics.Bad("answer")
		return pbx.State{}, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: fmt.Errorf("%w: %w", errBadAnswer, err)}
	}
	c.users.saw(user, p)
	return c.state(ctx, p), nil
}

// state puts a presence into our words.
func (c *Client) state(ctx context.Context, p wirePresence) pbx.State {
	line, ok := presence.ParseLine(p.Line)
	if !ok {
		c.metrics.Bad("line")
	}
	return pbx.State{
		Line: line, Status: c.status(ctx, p.Status), Message: p.Message,
		Version: p.version(), ChangedAt: p.changedAt(), ChangedBy: c.author(p.ChangedBy),
	}
}

func checkUser(op, user string) error {
	if user == "" || user == "." || user == ".." {
		// Such a segment would vanish on its way (RFC 3986 section 5.2.4) and address something else.
		return &pbx.Error{Kind: pbx.Gone, Op: op, Err: fmt.Errorf("%q is no user id", user)}
	}
	return nil
}

func presencePath(user string) string { return "/v1/users/" + url.PathEscape(user) + "/presence" }

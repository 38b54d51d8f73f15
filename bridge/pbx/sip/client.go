package sip

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/link"
)

// Client is the connector of one PBX. Its methods are safe for concurrent use.
type Client struct {
	cfg     Config
	server  server
	metrics *metrics
	tracker *link.Tracker
	users   userFile
	limit   *rate.Limiter // of snapshots without a watch

	seq     atomic.Uint64 // of events
	watched atomic.Bool
	dialing chan struct{} // holds a token while nobody dials

	mu       sync.Mutex
	closed   bool
	current  *flow
	session  *session
	pubs     map[string]*publication // by user
	listed   map[string]person       // who is on the resource list and not in the users file
	listRead bool                    // the list was read once
	usersAt  string                  // the last trouble with the users file
	broken   error                   // why the watch is interrupted
}

var _ pbx.Connector = (*Client)(nil)

// New makes a connector. It does not talk to the PBX yet, but the users file must be readable.
func New(cfg Config) (*Client, error) {
	cfg, srv, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, server: srv, tracker: link.NewTracker(cfg.Debounce), limit: rate.NewLimiter(rate.Limit(cfg.Rate), max(1, int(cfg.Rate/10))),
		dialing: make(chan struct{}, 1), pubs: map[string]*publication{}, listed: map[string]person{},
	}
	c.dialing <- struct{}{}
	c.users.path, c.users.domain = cfg.UsersFile, cfg.Domain
	if _, _, err := c.users.load(); err != nil {
		return nil, errors.Join(errors.New("sip: the users file cannot be used"), err)
	}
	if srv.network == "tls" {
		if _, err := cfg.tlsConfig(srv.host); err != nil {
			return nil, err
		}
	}
	if c.metrics, err = newMetrics(cfg); err != nil {
		return nil, err
	}
	return c, nil
}

// Close ends the connection. What is published is left to its lease. A watch ends with its context.
func (c *Client) Close() {
	c.mu.Lock()
	l := c.current
	c.closed, c.current = true, nil
	c.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// Capabilities implements [pbx.Connector].
func (c *Client) Capabilities() pbx.Capabilities {
	return pbx.Capabilities{OwnDocument: true, Messages: true}
}

// Connection implements [pbx.Connector].
func (c *Client) Connection() pbx.Connection { return c.tracker.Show() }

// self is who the bridge is at the PBX.
func (c *Client) self() sip.Uri {
	return sip.Uri{Scheme: "sip", User: c.cfg.Username, Host: c.cfg.Domain}
}

// flow returns the connection, opening it if there is none.
func (c *Client) flow(ctx context.Context) (*flow, error) {
	if l := c.live(); l != nil {
		return l, nil
	}
	select {
	case <-c.dialing:
		defer func() { c.dialing <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := c.live(); l != nil {
		return l, nil
	}
	l, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	old, closed := c.current, c.closed
	if !closed {
		c.current = l
	}
	c.mu.Unlock()
	if old != nil {
		old.close()
	}
	if closed {
		l.close()
		return nil, errLost
	}
	return l, nil
}

func (c *Client) live() *flow {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil && c.current.alive() {
		return c.current
	}
	return nil
}

// watching is the session of the watch, nil without one.
func (c *Client) watching() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// setSession notes the session of the watch, or why there is none.
func (c *Client) setSession(s *session, broken error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.broken = s, broken
}

func (c *Client) trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *Client) remember(p person) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed[p.id] = p
}

func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listed, id)
}

// Read implements [pbx.Connector]: it fetches both documents (RFC 6665 section 4.4.3).
func (c *Client) Read(ctx context.Context, user string) (pbx.State, error) {
	const op = "read"
	p, err := c.person(ctx, op, user)
	if err != nil {
		return pbx.State{}, err
	}
	for try := 0; ; try++ {
		l, err := c.flow(ctx)
		if err != nil {
			return pbx.State{}, typed(op, err)
		}
		st, err := c.fetchState(ctx, l, p)
		if err == nil || try > 0 || l.alive() || !errors.Is(context.Cause(l.life), errLost) {
			return st, err
		}
		// The connection was over without our knowing. Asking again harms nobody, unlike writing again.
	}
}

func (c *Client) fetchState(ctx context.Context, l *flow, p person) (pbx.State, error) {
	var notices [2]notice
	var missing [2]bool
	g, gctx := errgroup.WithContext(ctx)
	for i, event := range eventNames() {
		if l.without(event) {
			missing[i] = true
			continue
		}
		g.Go(func() error {
			n, err := l.fetch(gctx, event, p.aor)
			if lacks(err) {
				l.setWithout(event)
				missing[i] = true
				return nil
			}
			notices[i] = n
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return pbx.State{}, err
	}
	if missing[0] && missing[1] {
		return pbx.State{}, &pbx.Error{Kind: pbx.Refused, Op: "read", Err: &statusError{code: 489}}
	}
	e := endpoint{person: p, hasDialog: !missing[0]}
	for i, event := range eventNames() {
		if missing[i] {
			continue
		}
		if _, err := e.fold(event, notices[i].body); err != nil {
			c.metrics.Bad(event)
			return pbx.State{}, &pbx.Error{Kind: pbx.Unanswered, Op: "read", Err: err}
		}
	}
	return e.state(), nil
}

// Snapshot implements [pbx.Connector]. While the PBX is watched it is what the subscriptions say, once all have said
// something; otherwise each extension is fetched.
func (c *Client) Snapshot(ctx context.Context) ([]pbx.User, error) {
	const op = "list users"
	if err := ctx.Err(); err != nil {
		return nil, typed(op, err)
	}
	if s := c.watching(); s != nil {
		users, ok := s.known(ctx)
		if ok {
			return users, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, typed(op, err)
		}
		return nil, typed(op, context.Cause(s.l.life))
	}
	if err := c.trouble(); err != nil && c.watched.Load() {
		return nil, typed(op, err)
	}
	people, _, err := c.users.load()
	if err != nil {
		c.usersError(err)
	}
	l, err := c.flow(ctx)
	if err != nil {
		return nil, typed(op, err)
	}
	var users []pbx.User
	if c.cfg.ListURI != "" {
		if users, people, err = c.fetchList(ctx, l, people); err != nil {
			return nil, err
		}
	}
	rest, err := c.fetchAll(ctx, l, people)
	return append(users, rest...), err
}

func (c *Client) fetchAll(ctx context.Context, l *flow, people []person) ([]pbx.User, error) {
	users := make([]pbx.User, len(people))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, p := range people {
		if err := c.limit.Wait(gctx); err != nil {
			break
		}
		g.Go(func() error {
			st, err := c.fetchState(gctx, l, p)
			if gone(err) { // in the file, but not at the PBX
				err = nil
			}
			users[i] = p.user(st)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, typed("list users", err)
	}
	return users, nil
}

// usersError logs what is wrong with the users file, once per trouble. The list from before stays in force.
func (c *Client) usersError(err error) {
	c.mu.Lock()
	again := c.usersAt == err.Error()
	c.usersAt = err.Error()
	c.mu.Unlock()
	c.tracker.Warn(pbx.Warning{
		Code: "users_file", Text: "The users file cannot be used: the list of extensions from before stays in force.",
		Remedy: "Mend the file: " + err.Error(),
	})
	if !again {
		c.metrics.Bad("users_file")
		c.cfg.Log.Warn("the users file cannot be used; the list from before stays in force", "error", err)
	}
}

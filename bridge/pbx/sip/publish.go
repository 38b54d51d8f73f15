package sip

import (
	"context"
	"errors"
	"hash/fnv"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"

	"presencebridge/bridge/pbx"
)

// renewAgain is how long a renewal that failed waits.
const renewAgain = 5 * time.Second

var (
	errOldDocument = errors.New("a document of ours whose SIP-ETag is not known still stands; it ends with its lease")
	errNoETag      = errors.New("the PBX accepted the document but gave no SIP-ETag")
)

// publication is our document at one extension (RFC 3903). Who holds turn owns the rest.
type publication struct {
	turn chan struct{} // holds a token while nobody sends

	person  person
	act     activity
	message string
	etag    string    // of what the PBX holds; "" when nothing is known to be there
	doubt   time.Time // until then something may stand whose etag never came
	expires time.Duration
	keep    bool // renewed until it is withdrawn
	due     time.Time
	running bool // guarded by the client's mutex: a renewal is under way
}

// ownID is the id of our tuple at this PBX. It is the same in every life of the bridge: of two documents with it the
// PBX shows the newer one.
func (c *Client) ownID() string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.cfg.Account + "/" + c.cfg.Name)) // never fails
	return ownPrefix + strconv.FormatUint(uint64(h.Sum32()), 16)
}

func (c *Client) publication(p person) *publication {
	c.mu.Lock()
	defer c.mu.Unlock()
	pub := c.pubs[p.id]
	if pub == nil {
		pub = &publication{turn: make(chan struct{}, 1), expires: c.cfg.Lease}
		pub.turn <- struct{}{}
		c.pubs[p.id] = pub
	}
	return pub
}

// Apply implements [pbx.Connector]. It publishes our document, or removes it. The state it returns is the person's own.
func (c *Client) Apply(ctx context.Context, user string, w pbx.Write) (pbx.State, error) {
	const op = "publish"
	p, err := c.person(ctx, op, user)
	if err != nil {
		return pbx.State{}, err
	}
	var act activity
	if !w.Status.IsZero() {
		if act, err = toWrite(w.Status); err != nil {
			return pbx.State{}, &pbx.Error{Kind: pbx.Refused, Op: op, Err: err}
		}
	}
	l, err := c.flow(ctx)
	if err != nil {
		return pbx.State{}, typed(op, err)
	}
	pub := c.publication(p)
	select {
	case <-pub.turn:
	case <-ctx.Done():
		return pbx.State{}, typed(op, ctx.Err())
	}
	defer func() { pub.turn <- struct{}{} }()
	pub.person = p
	if w.Status.IsZero() {
		err = c.withdraw(ctx, l, pub)
	} else {
		pub.act = act
		if w.Message != nil {
			pub.message = *w.Message
		}
		err = c.publish(ctx, l, pub)
	}
	if err != nil {
		return pbx.State{}, err
	}
	return c.stateAfter(ctx, user), nil
}

// stateAfter is what the PBX shows after a write; unknown if it does not say.
func (c *Client) stateAfter(ctx context.Context, user string) pbx.State {
	if s := c.watching(); s != nil {
		if st, ok := s.current(user); ok {
			return st
		}
	}
	st, err := c.Read(ctx, user)
	if err != nil {
		c.cfg.Log.DebugContext(ctx, "the state after a write could not be read", "error", err)
		return pbx.State{}
	}
	return st
}

// publish sends the whole document, in place of the one that the PBX holds if there is one.
func (c *Client) publish(ctx context.Context, l *flow, pub *publication) error {
	doc := document{entity: pub.person.aor.String(), id: c.ownID(), act: pub.act, message: pub.message}
	err := c.put(ctx, l, pub, doc.encode())
	if lost(err) { // the PBX forgot it: once more, in full (RFC 3903 section 4.1)
		pub.etag = ""
		err = c.put(ctx, l, pub, doc.encode())
	}
	if err == nil {
		pub.keep = true
	}
	return err
}

// lost tells whether the PBX does not know the etag (412).
func lost(err error) bool {
	var se *statusError
	return errors.As(err, &se) && se.code == 412
}

// put sends one PUBLISH; without a body it renews.
func (c *Client) put(ctx context.Context, l *flow, pub *publication, body []byte) error {
	for range 2 {
		res, err := l.do(ctx, c.publishRequest(pub, pub.expires, body))
		var se *statusError
		if errors.As(err, &se) && se.code == sip.StatusIntervalToBrief && se.min > pub.expires {
			pub.expires = se.min // RFC 3903 section 6, step 4
			continue
		}
		if err != nil {
			if pbx.KindOf(err) == pbx.Unanswered {
				pub.doubt = time.Now().Add(pub.expires + c.cfg.Timeout)
			}
			return err
		}
		return pub.stands(res)
	}
	return &pbx.Error{Kind: pbx.Refused, Op: "publish", Err: errors.New("the PBX asks for ever longer leases (423)")}
}

func (c *Client) publishRequest(pub *publication, expires time.Duration, body []byte) outgoing {
	o := outgoing{
		op: "publish", method: sip.PUBLISH, target: pub.person.aor, to: pub.person.aor, body: body,
		headers: [][2]string{{"Event", eventPresence}, {"Expires", strconv.Itoa(int(expires / time.Second))}},
	}
	if pub.etag != "" {
		o.headers = append(o.headers, [2]string{"SIP-If-Match", pub.etag})
	}
	if body != nil {
		o.headers = append(o.headers, [2]string{"Content-Type", "application/pidf+xml"})
	}
	return o
}

// stands takes the new etag: each answer brings one, and the one before is void (RFC 3903 section 4.1).
func (pub *publication) stands(res *sip.Response) error {
	granted := pub.expires
	if h := res.GetHeader("Expires"); h != nil {
		if g := seconds(h.Value()); g > 0 && g < granted {
			granted = g
		}
	}
	pub.due = time.Now().Add(refreshAfter(granted))
	h := res.GetHeader("SIP-ETag")
	if h == nil || h.Value() == "" {
		pub.etag, pub.doubt = "", time.Now().Add(granted)
		return &pbx.Error{Kind: pbx.Unanswered, Op: "publish", Err: errNoETag}
	}
	pub.etag = h.Value()
	return nil
}

// withdraw removes our document (RFC 3903 section 4.5). Where one of ours stands that nobody knows the etag of, from a
// former life or a write that was never answered, it cannot be removed: it ends with its lease, and until then the
// withdrawal is not done.
func (c *Client) withdraw(ctx context.Context, l *flow, pub *publication) error {
	pub.keep = false
	known := pub.etag != ""
	if known {
		_, err := l.do(ctx, c.publishRequest(pub, 0, nil))
		if err != nil && !lost(err) {
			if pbx.KindOf(err) == pbx.Unanswered {
				pub.doubt = time.Now().Add(pub.expires)
			}
			return err
		}
		known = err == nil
		pub.etag = ""
	}
	pub.message = ""
	if known && time.Now().After(pub.doubt) {
		return nil
	}
	n, err := l.fetch(ctx, eventPresence, pub.person.aor)
	if lacks(err) || gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	view, err := parsePIDF(n.body)
	if err == nil && view.own {
		return &pbx.Error{Kind: pbx.Unanswered, Op: "withdraw", Err: errOldDocument}
	}
	return nil // nothing of ours is there, or nothing at all
}

// renewDue renews what is due, beside everything else that the session does.
func (c *Client) renewDue(ctx context.Context, s *session) {
	now := time.Now()
	var due []*publication
	c.mu.Lock()
	for _, pub := range c.pubs {
		if pub.running {
			continue
		}
		select {
		case <-pub.turn:
			if pub.keep && now.After(pub.due) {
				pub.running = true
				due = append(due, pub)
			}
			pub.turn <- struct{}{}
		default: // somebody writes
		}
	}
	c.mu.Unlock()
	for i, pub := range due {
		if s.spawn(ctx, func() { c.renew(ctx, s.l, pub) }) {
			continue
		}
		c.mu.Lock()
		for _, rest := range due[i:] {
			rest.running = false
		}
		c.mu.Unlock()
		return
	}
}

// renew keeps our document (RFC 3903 section 4.3): by its etag, or in full where the PBX lost it.
func (c *Client) renew(ctx context.Context, l *flow, pub *publication) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		pub.running = false
	}()
	select {
	case <-pub.turn:
	case <-ctx.Done():
		return
	}
	defer func() { pub.turn <- struct{}{} }()
	if !pub.keep || time.Now().Before(pub.due) {
		return // it was written meanwhile
	}
	err := error(nil)
	if pub.etag != "" {
		err = c.put(ctx, l, pub, nil)
	}
	if pub.etag == "" || lost(err) {
		err = c.publish(ctx, l, pub)
	}
	if err != nil {
		pub.due = time.Now().Add(renewAgain)
		c.metrics.renewal("failed")
		c.cfg.Log.WarnContext(ctx, "a document of ours could not be renewed", "error", err)
		return
	}
	c.metrics.renewal("ok")
}

// renewAll lets everything be renewed at once: a PBX that was away may have lost it.
func (c *Client) renewAll() { c.eachPublication(func(p *publication) { p.due = time.Time{} }) }

// keepNone leaves what is published to its lease: whoever watches next says anew what is to stand.
func (c *Client) keepNone() { c.eachPublication(func(p *publication) { p.keep = false }) }

func (c *Client) eachPublication(do func(*publication)) {
	c.mu.Lock()
	list := make([]*publication, 0, len(c.pubs))
	for _, p := range c.pubs {
		list = append(list, p)
	}
	c.mu.Unlock()
	for _, p := range list {
		<-p.turn
		do(p)
		p.turn <- struct{}{}
	}
}

package graphsim

import (
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Deadlines of an endpoint's answers (learn:change-notifications-delivery-webhooks).
const (
	validationTimeout = 10 * time.Second
	firstTimeout      = 3 * time.Second
	retryTimeout      = 10 * time.Second
	maxRetryWait      = 10 * time.Minute
)

// errValidationTimeout is worded as Graph does.
var errValidationTimeout = errors.New("Subscription validation request timed out.") //nolint:staticcheck // Graph's own wording

// post delivers notifications: each endpoint has a few lanes, each lane one request at a time, and
// all items of a person go by one lane, so that without faults they arrive in order.
type post struct {
	sim    *Sim
	client *http.Client
	own    *http.Transport // nil when the transport was given

	mu        sync.Mutex
	endpoints map[string]*endpoint // guarded by mu; by URL
	tokens    map[string]*validationToken
}

// endpoint is one notification URL.
type endpoint struct {
	url   string
	lanes []*lane
	state health
}

// lane is a queue of parcels for one endpoint, worked off by one goroutine.
type lane struct {
	post     *post
	endpoint *endpoint
	wake     chan struct{}

	mu      sync.Mutex
	fresh   []item    // guarded by mu; not packed yet
	retries []*parcel // guarded by mu; to be sent again
}

// item is one notification on its way.
type item struct {
	sub       *subscription
	user      string
	pair      Pair
	lifecycle string
	changed   time.Time
	poison    bool // followed by a forged neighbour
	delayed   bool // waited out the endpoint's slow state
}

// parcel is a request: the items and their encoded body, which stays the same through retries.
type parcel struct {
	items    []item
	body     []byte
	first    time.Time
	attempts int
}

func newPost(s *Sim) *post {
	p := &post{sim: s, endpoints: map[string]*endpoint{}, tokens: map[string]*validationToken{}}
	d := s.cfg.Delivery
	transport := d.Transport
	if transport == nil {
		p.own = &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: d.RootCAs, MinVersion: tls.VersionTLS12},
			MaxIdleConnsPerHost: 2 * d.Lanes, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
			DialContext: (&net.Dialer{Timeout: firstTimeout}).DialContext,
		}
		transport = p.own
	}
	p.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return p
}

func (p *post) close() {
	if p.own != nil {
		p.own.CloseIdleConnections()
	}
}

// send puts an item on its way, as the faults have it. Under the hub's lock.
func (p *post) send(s *subscription, user string, pair Pair, now time.Time) {
	f, chance, d := p.sim.cruelty.faults(), p.sim.cruelty.post, p.sim.cfg.Delivery
	p.sim.counts.do(func(c *Stats) { c.Notifications.Queued++ })
	if s.dead || chance.hit(f.Drop) {
		p.sim.counts.do(func(c *Stats) { c.Notifications.Dropped++ })
		return
	}
	x := item{sub: s, user: user, pair: pair, changed: now, poison: chance.hit(f.Poison)}
	due := now.Add(s.slowBy + chance.around(d.LatencyMin, d.LatencyMean, d.LatencyMax))
	late, reorder := chance.hit(f.Late), chance.hit(f.Reorder)
	switch {
	case late:
		due = due.Add(chance.upTo(f.LateBy))
		p.sim.counts.do(func(c *Stats) { c.Notifications.Late++ })
	case reorder:
		due = due.Add(chance.upTo(2 * time.Second)) // long enough to be overtaken
	default:
		if last := s.last[user]; due.Before(last) {
			due = last
		}
		s.last[user] = due
	}
	p.enqueue(x, due)
	if chance.hit(f.Double) {
		x.poison = false
		p.enqueue(x, due.Add(chance.upTo(2*time.Second)))
		p.sim.counts.do(func(c *Stats) { c.Notifications.Doubled++ })
	}
}

// enqueue hands the item to its lane when it is due.
func (p *post) enqueue(x item, due time.Time) {
	p.sim.counts.do(func(c *Stats) { c.Notifications.Waiting++ })
	p.sim.agenda.at(due, func() { p.hand(x) })
}

// hand gives an item to the lane that its person's items go by.
func (p *post) hand(x item) {
	to := x.sub.lifecycleURL
	if x.lifecycle == "" {
		p.sim.hub.mu.Lock()
		to = x.sub.notificationURL
		p.sim.hub.mu.Unlock()
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(x.user)) // never fails
	e := p.endpoint(to)
	if p.sim.cfg.Delivery.EndpointStates && x.lifecycle == "" && !x.delayed {
		switch e.state.now(time.Now()) {
		case dropped:
			p.discard([]item{x})
			return
		case slow:
			x.delayed = true
			p.sim.agenda.after(healthPenalty, func() { p.hand(x) })
			return
		case healthy:
		}
	}
	l := e.lanes[int(sum.Sum32())%len(e.lanes)]
	l.mu.Lock()
	l.fresh = append(l.fresh, x)
	l.mu.Unlock()
	l.ring()
}

// endpoint finds or makes the lanes of a URL. They live as long as the tenant.
func (p *post) endpoint(u string) *endpoint {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.endpoints[u]
	if e == nil {
		e = &endpoint{url: u}
		for range p.sim.cfg.Delivery.Lanes {
			l := &lane{post: p, endpoint: e, wake: make(chan struct{}, 1)}
			e.lanes = append(e.lanes, l)
			p.sim.running.Go(func() { l.run(p.sim.ctx) })
		}
		p.endpoints[u] = e
	}
	return e
}

// deliverable leaves out items whose subscription has ended or died, and holds those back whose
// subscription's access token has (learn:change-notifications-lifecycle-events). What was sent
// before is sent again as it was.
func (p *post) deliverable(items []item, first bool) []item {
	h := p.sim.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var keep, lost []item
	for _, x := range items {
		switch {
		case !x.sub.live(now) || x.sub.dead:
			lost = append(lost, x)
		case first && x.lifecycle == "" && !x.sub.authorised.After(now):
			x.sub.held = append(x.sub.held, x)
		default:
			keep = append(keep, x)
		}
	}
	if !first && len(keep) > 0 {
		return items
	}
	p.discard(lost)
	return keep
}

// release sends held items on their way again, those that are not too old.
func (p *post) release(items []item) {
	now := time.Now()
	for _, x := range items {
		if now.Sub(x.changed) > p.sim.cfg.Delivery.RetryFor {
			p.discard([]item{x})
			continue
		}
		p.sim.agenda.at(now, func() { p.hand(x) })
	}
}

// discard counts items that are given up.
func (p *post) discard(items []item) {
	p.sim.counts.do(func(c *Stats) {
		c.Notifications.Dropped += int64(len(items))
		c.Notifications.Waiting -= int64(len(items))
	})
}

// outcome counts an attempt.
func (p *post) outcome(x *parcel, ok bool) {
	p.sim.counts.do(func(c *Stats) {
		n := &c.Notifications
		n.Posts++
		if x.attempts == 0 {
			n.Sent += int64(len(x.items))
		}
		if !ok {
			n.Failed++
			return
		}
		n.Acked += int64(len(x.items))
		n.Waiting -= int64(len(x.items))
	})
}

// challenge sends reauthorizationRequired again and again while the subscription lives, as users
// report it of short subscriptions (learn:change-notifications-lifecycle-events).
func (p *post) challenge(s *subscription) {
	every := p.sim.cfg.Delivery.ReauthorizeEvery
	if every < 0 || s.lifecycleURL == "" {
		return
	}
	p.sim.agenda.after(every, func() {
		h := p.sim.hub
		h.mu.Lock()
		live := s.live(time.Now())
		h.mu.Unlock()
		if !live {
			return
		}
		p.sim.counts.do(func(c *Stats) { c.Notifications.Lifecycle++; c.Notifications.Waiting++ })
		p.hand(item{sub: s, lifecycle: "reauthorizationRequired", changed: time.Now()})
		p.challenge(s)
	})
}

// Challenge sends reauthorizationRequired to a subscription now.
func (s *Sim) Challenge(id string) error {
	s.hub.mu.Lock()
	x := s.hub.subs[strings.ToLower(id)]
	s.hub.mu.Unlock()
	if x == nil || x.lifecycleURL == "" {
		return fmt.Errorf("graphsim: no subscription %q with a lifecycleNotificationUrl: list those that live", id)
	}
	s.counts.do(func(c *Stats) { c.Notifications.Lifecycle++; c.Notifications.Waiting++ })
	s.post.hand(item{sub: x, lifecycle: "reauthorizationRequired", changed: time.Now()})
	return nil
}

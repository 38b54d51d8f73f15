package graphsim

import (
	"crypto/rsa"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// subscription is one presence subscription.
type subscription struct {
	// Fixed when it is made.
	id, app, creator string
	resource         string
	ids              []string // distinct, in lower case
	lifecycleURL     string
	clientState      string
	rich             bool
	created          time.Time

	// Guarded by hub.mu.
	notificationURL string
	key             *rsa.PublicKey
	keyID, thumb    string
	certificate     string
	expires         time.Time
	authorised      time.Time            // end of the access token it was last made or renewed with; delivery pauses then
	dead            bool                 // silently: it can be read and renewed, but nothing is delivered
	gone            bool                 // deleted
	slowBy          time.Duration        // notifications wait so much longer
	last            map[string]time.Time // when the latest item of a person is due, so that later ones stay behind
	held            []item               // waiting for a fresh authorisation
}

func (s *subscription) live(now time.Time) bool { return !s.gone && s.expires.After(now) }

// hub is the subscriptions of the tenant.
type hub struct {
	sim *Sim

	mu       sync.Mutex
	subs     map[string]*subscription   // guarded by mu; by id
	owners   map[string]*subscription   // guarded by mu; by application and creator: one each
	watchers map[string][]*subscription // guarded by mu; by watched user
	ticking  bool                       // guarded by mu
}

func newHub(s *Sim) *hub {
	return &hub{sim: s, subs: map[string]*subscription{}, owners: map[string]*subscription{}, watchers: map[string][]*subscription{}}
}

func owner(app, creator string) string { return app + "/" + creator }

// count is how many subscriptions live.
func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, now := 0, time.Now()
	for _, s := range h.subs {
		if s.live(now) {
			n++
		}
	}
	return n
}

// notified sends a change to those who subscribed to the person. Under the world's lock.
func (h *hub) notified(p *person, pair Pair, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.watchers[p.ID] {
		if s.live(now) {
			h.sim.post.send(s, p.ID, pair, now)
		}
	}
}

// drop forgets a subscription. Under mu.
func (h *hub) drop(s *subscription) {
	s.gone = true
	delete(h.subs, s.id)
	if h.owners[owner(s.app, s.creator)] == s {
		delete(h.owners, owner(s.app, s.creator))
	}
	for _, id := range s.ids {
		list := h.watchers[id]
		for i, other := range list {
			if other == s {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
		if len(list) == 0 {
			delete(h.watchers, id)
		} else {
			h.watchers[id] = list
		}
	}
	h.sim.post.discard(s.held)
	s.held = nil
}

// sweep drops what has expired; nobody is told (learn:change-notifications-lifecycle-events).
func (h *hub) sweep(now time.Time) {
	for _, s := range h.subs {
		if !s.live(now) {
			h.drop(s)
		}
	}
}

// tick once a second, as long as there are subscriptions, lets them expire and, as the faults say,
// die. Under mu.
func (h *hub) tick() {
	if h.ticking || len(h.subs) == 0 {
		return
	}
	h.ticking = true
	h.sim.agenda.after(time.Second, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sweep(time.Now())
		if p := h.sim.cruelty.faults().SilentDeath / 60; p > 0 {
			for _, id := range slices.Sorted(maps.Keys(h.subs)) {
				if s := h.subs[id]; !s.dead && h.sim.cruelty.post.hit(p) {
					s.dead = true
				}
			}
		}
		h.ticking = false
		h.tick()
	})
}

// Subscription is a live subscription, for those who look on.
type Subscription struct {
	ID              string    `json:"id"`
	Creator         string    `json:"creator"` // object id of the monitor
	Watched         int       `json:"watched"`
	NotificationURL string    `json:"notification_url"`
	Expires         time.Time `json:"expires"`
	Rich            bool      `json:"rich"`
	Dead            bool      `json:"dead"`
	Created         time.Time `json:"created"`
}

// Subscriptions are those that live.
func (s *Sim) Subscriptions() []Subscription {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	out, now := []Subscription{}, time.Now()
	for _, x := range s.hub.subs {
		if x.live(now) {
			out = append(out, Subscription{x.id, x.creator, len(x.ids), x.notificationURL, x.expires, x.rich, x.dead, x.created})
		}
	}
	return out
}

// Watched are the object ids of those whom a subscription watches, nobody if there is none.
func (s *Sim) Watched(id string) []string {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if x := s.hub.subs[strings.ToLower(id)]; x != nil {
		return slices.Clone(x.ids)
	}
	return nil
}

// KillSubscription has a subscription die silently, or with revive come to life again.
func (s *Sim) KillSubscription(id string, revive bool) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	x := s.hub.subs[strings.ToLower(id)]
	if x == nil {
		return fmt.Errorf("graphsim: no subscription %q: list those that live", id)
	}
	x.dead = !revive
	return nil
}

// SlowSubscription has everything that a subscription delivers from now on come that much later, beside the usual
// latency (which may be a minute: learn:change-notifications-overview). 0 ends that.
func (s *Sim) SlowSubscription(id string, by time.Duration) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	x := s.hub.subs[strings.ToLower(id)]
	if x == nil {
		return fmt.Errorf("graphsim: no subscription %q: list those that live", id)
	}
	x.slowBy = by
	return nil
}

// room tells whether the subscription may be made beside those there are.
func (h *hub) room(n *subscription) (reply, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roomLocked(n)
}

func (h *hub) roomLocked(n *subscription) (reply, bool) {
	h.sweep(time.Now())
	if other := h.owners[owner(n.app, n.creator)]; other != nil {
		if other.resource == n.resource {
			return refuse(http.StatusConflict, "Conflict",
				fmt.Sprintf("Subscription Id <%s> already exists for the requested combination", other.id)), false
		}
		text := "A subscripton already exists. It must be deleted before a another can be made" // as Graph spells it
		if h.sim.cruelty.requests.hit(0.5) {
			text = "Operation: Create; Exception: [Status Code: Conflict; Reason: " + text + ".]" // also seen
		}
		return refuse(http.StatusConflict, "ExtensionError", text), false
	}
	if len(h.subs) >= maxSubscriptions {
		return refuse(http.StatusForbidden, "Forbidden",
			fmt.Sprintf("Subscription count exceeds the limit of %d per organization", maxSubscriptions)), false
	}
	return reply{}, true
}

// reauthorised lets delivery go on until the token ends. Under mu.
func (h *hub) reauthorised(s *subscription, until time.Time) {
	s.authorised = until
	held := s.held
	s.held = nil
	h.sim.post.release(held)
}

package graphsim

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
)

// Change is something that became visible, or that changed what a person themselves does.
type Change struct {
	UserID  string    `json:"user_id"`
	UPN     string    `json:"upn"`
	At      time.Time `json:"at"`
	From    Pair      `json:"from"`    // what Teams showed
	To      Pair      `json:"to"`      // what Teams shows now
	Before  Pair      `json:"before"`  // what showed without any application session
	Organic Pair      `json:"organic"` // what would show now without any
	Ours    bool      `json:"ours"`    // an application caused it: it set, cleared or lost its session, or wrote preferred presence
	Cause   string    `json:"cause"`   // what happened: sign-in, call, set-presence, expiry, ...
}

// causeExpiry is the cause of changes that nobody made at the time: a session faded or ended.
const causeExpiry = "expiry"

// Visible tells whether what Teams shows changed, so that subscribers are notified.
func (c Change) Visible() bool { return c.From != c.To }

// world is the tenant's people and what they do. One lock guards it all; nothing slow happens under
// it: a read of 650 people holds it for some tens of microseconds.
type world struct {
	agenda   *agenda
	log      func(Change) // counts the change and hands it to the hook; called under mu
	readLag  func() time.Duration
	appWins  func() bool
	notified func(p *person, pair Pair, now time.Time) // called under mu for each visible change

	mu       sync.Mutex
	byID     map[string]*person // guarded by mu; key in lower case
	byUPN    map[string]*person // guarded by mu; key in lower case
	list     []*person          // guarded by mu; ascending by id
	sequence uint64             // guarded by mu; of presence objects
	order    int64              // guarded by mu; of changes of sessions
	edits    edits              // guarded by mu; of the directory
}

// person is one user with everything that bears on their presence. Guarded by world.mu.
type person struct {
	Person
	monitor bool
	appWins bool

	clients     []*client
	apps        []*appSession
	preferred   *preference
	message     *statusMessage
	outOfOffice bool
	oofMessage  string

	shown, organic Pair
	sequence       string

	visible         Pair // what reads show: shown, but late
	visibleSequence string
	publications    []publication

	edited map[string]uint64 // by property: the number of the edit that last changed it

	wake time.Time // when the agenda looks at the person next; zero: never
}

// client is a Teams client: what it is set to, and over that what its user does with it.
type client struct {
	name       string
	base       Pair
	calls      int
	conference bool
	meeting    bool
	presenting bool
	changed    int64
}

func (c *client) pair() Pair {
	switch {
	case c.presenting:
		return Presenting
	case c.calls > 0 && c.conference:
		return InAConferenceCall
	case c.calls > 0:
		return InACall
	case c.meeting:
		return InAMeeting
	default:
		return c.base
	}
}

// appSession is the presence session of one application.
type appSession struct {
	app     string
	pair    Pair
	set     time.Time // when it was last set: an Available session fades from then
	expires time.Time
	changed int64
}

// preference is preferred presence: a status picked by hand.
type preference struct {
	pair    Pair
	expires time.Time
	app     bool // written by an application, not picked in Teams
}

type statusMessage struct {
	content   string
	published time.Time
	expires   time.Time // zero: never
}

// shows tells whether there is a message that has not expired.
func (m *statusMessage) shows(now time.Time) bool {
	return m != nil && (m.expires.IsZero() || m.expires.After(now))
}

// publication is a state that reads do not show yet.
type publication struct {
	due      time.Time
	pair     Pair
	sequence string
}

func newWorld(a *agenda) *world {
	return &world{agenda: a, byID: map[string]*person{}, byUPN: map[string]*person{}}
}

// add takes in a user. It fails when the id or the name is taken.
func (w *world) add(p Person, monitor bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.ID = strings.ToLower(p.ID)
	if p.UserType == "" {
		p.UserType = "Member"
	}
	id, upn := p.ID, strings.ToLower(p.UPN)
	if id == "" || upn == "" {
		return fmt.Errorf("graphsim: person %q with id %q: give both a UPN and an id", p.UPN, p.ID)
	}
	if w.byID[id] != nil || w.byUPN[upn] != nil {
		return fmt.Errorf("graphsim: person %s (%s): the id or the UPN is taken, give another", p.UPN, p.ID)
	}
	w.sequence++
	n := &person{Person: p, monitor: monitor, appWins: w.appWins(), shown: Offline, organic: Offline, visible: Offline,
		sequence: stamp(w.sequence)}
	n.visibleSequence = n.sequence
	w.byID[id], w.byUPN[upn] = n, n
	at, _ := w.position(id)
	w.list = slices.Insert(w.list, at, n)
	w.edits.born(n)
	return nil
}

// remove deletes a user; their presence is gone with them.
func (w *world) remove(user string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.find(user)
	if p == nil {
		return unknownUser(user)
	}
	w.edits.gone(p.ID)
	delete(w.byID, p.ID)
	delete(w.byUPN, strings.ToLower(p.UPN))
	if at, ok := w.position(p.ID); ok {
		w.list = slices.Delete(w.list, at, at+1)
	}
	p.wake = time.Time{} // a look that is planned finds nothing to do
	return nil
}

// position is where the id is in the list, or belongs.
func (w *world) position(id string) (int, bool) {
	return sort.Find(len(w.list), func(i int) int { return strings.Compare(id, w.list[i].ID) })
}

// find returns the person with that id or UPN, or nil. Under mu.
func (w *world) find(user string) *person {
	if p := w.byID[user]; p != nil {
		return p
	}
	user = strings.ToLower(user)
	if p := w.byID[user]; p != nil {
		return p
	}
	return w.byUPN[user]
}

func unknownUser(user string) error {
	return fmt.Errorf("graphsim: no user %q in this tenant: give an object id or a UPN of it", user)
}

// stamp is "lexicographically sortable" as the sequence number of learn:api/resources/presence.
func stamp(n uint64) string { return fmt.Sprintf("A%010d", n) }

// change runs f on a person and works out what follows.
func (w *world) change(user, cause string, ours bool, f func(p *person, now time.Time) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.find(user)
	if p == nil {
		return unknownUser(user)
	}
	now := time.Now()
	w.settle(p, now)
	if err := f(p, now); err != nil {
		return err
	}
	w.refresh(p, now, cause, ours)
	return nil
}

// settle lets what ended by itself end before anything else happens to the person. Under mu.
func (w *world) settle(p *person, now time.Time) {
	if !p.wake.IsZero() && !p.wake.After(now) {
		w.refresh(p, now, causeExpiry, false)
	}
}

// refresh works out what shows now, tells everybody, and plans the next look. Under mu.
func (w *world) refresh(p *person, now time.Time, cause string, ours bool) {
	p.expire(now)
	shown, organic := p.aggregate(now, true), p.aggregate(now, false)
	if cause == causeExpiry {
		ours = p.organic == organic
	}
	c := Change{UserID: p.ID, UPN: p.UPN, At: now, From: p.shown, To: shown, Before: p.organic, Organic: organic, Ours: ours, Cause: cause}
	if c.From != c.To || c.Before != c.Organic {
		p.shown, p.organic = shown, organic
		if c.Visible() {
			w.publish(p, now)
		}
		w.log(c)
	}
	w.plan(p, now)
}

// publish gives the new state a sequence number, lets reads show it, late perhaps, and notifies.
func (w *world) publish(p *person, now time.Time) {
	w.sequence++
	p.sequence = stamp(w.sequence)
	p.read(now)
	if lag := w.readLag(); lag > 0 || len(p.publications) > 0 {
		due := now.Add(lag)
		if n := len(p.publications); n > 0 && due.Before(p.publications[n-1].due) {
			due = p.publications[n-1].due
		}
		p.publications = append(p.publications, publication{due, p.shown, p.sequence})
	} else {
		p.visible, p.visibleSequence = p.shown, p.sequence
	}
	w.notified(p, p.shown, now)
}

// read is what a read shows now, with its sequence number. Under mu.
func (p *person) read(now time.Time) (Pair, string) {
	for len(p.publications) > 0 && !p.publications[0].due.After(now) {
		p.visible, p.visibleSequence = p.publications[0].pair, p.publications[0].sequence
		p.publications = p.publications[1:]
	}
	return p.visible, p.visibleSequence
}

// expire drops what has ended.
func (p *person) expire(now time.Time) {
	p.apps = slices.DeleteFunc(p.apps, func(a *appSession) bool { return !a.expires.After(now) })
	if p.preferred != nil && !p.preferred.expires.After(now) {
		p.preferred = nil
	}
	if p.message != nil && !p.message.expires.IsZero() && !p.message.expires.After(now) {
		p.message = nil
	}
}

// aggregate is what shows, with the applications' sessions or without.
func (p *person) aggregate(now time.Time, withApps bool) Pair {
	var room [4]session
	sessions := room[:0]
	for _, c := range p.clients {
		sessions = append(sessions, session{pair: c.pair(), changed: c.changed})
	}
	if withApps {
		for _, a := range p.apps {
			sessions = append(sessions, session{pair: faded(a.pair, now.Sub(a.set)), app: true, changed: a.changed})
		}
	}
	var preferred *Pair
	if p.preferred != nil {
		preferred = &p.preferred.pair
	}
	return aggregate(sessions, preferred, p.outOfOffice, p.appWins)
}

// plan has the agenda look again when something fades or ends. A look that is planned too early
// (the session was renewed since) does no harm. Under mu.
func (w *world) plan(p *person, now time.Time) {
	next := p.next(now)
	if !p.wake.IsZero() && !p.wake.After(now) {
		p.wake = time.Time{}
	}
	if next.IsZero() || (!p.wake.IsZero() && !next.Before(p.wake)) {
		return
	}
	p.wake = next
	w.agenda.at(next, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.settle(p, time.Now())
	})
}

// next is when the person's presence may change by itself; zero: not.
func (p *person) next(now time.Time) time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, a := range p.apps {
		sooner(a.expires)
		if a.pair == Available {
			sooner(a.set.Add(fadeAfter))
			sooner(a.set.Add(2 * fadeAfter))
		}
	}
	if p.preferred != nil {
		sooner(p.preferred.expires)
	}
	return next
}

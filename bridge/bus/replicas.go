package bus

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How replicas see each other (design, section 4). DESIGN.md says why these times fit together.
const (
	renewEvery   = time.Second
	renewTimeout = time.Second
	// deadEmbedded and deadExternal are how long a replica may be silent before the others drop it.
	deadEmbedded = 3 * time.Second
	deadExternal = 10 * time.Second
	// standAside is how much earlier than that it stops acting itself: enough for whatever the clocks
	// of two machines, or a busy one, may differ by.
	standAside = 2 * time.Second
	// staleAfter is how old a look at the bucket may be before nothing is concluded from it any more.
	staleAfter = 3 * renewEvery
)

// Replica is what a replica with the role engine says of itself, every second.
type Replica struct {
	ID string `json:"id"`
	// Accounts are those that it is configured for.
	Accounts []string `json:"accounts"`
	// Running are the accounts that it runs, or has not quite stopped running, each with the time up to which
	// everything stored for it was dealt with (see [Bus.Vouched]).
	Running map[string]time.Time `json:"running,omitempty"`
	// Leaving: it owns nothing any more, and is gone as soon as nothing runs.
	Leaving bool `json:"leaving,omitempty"`
	// Word counts what it has said, so that an older word is known from a newer one.
	Word uint64 `json:"word"`
}

// Owner names the replica that an account belongs to, by rendezvous hashing: when one comes or goes, only the
// accounts that it gets or had change hands. "" if there is none.
func Owner(account string, replicas []string) string {
	var best string
	var most uint64
	for _, id := range replicas {
		sum := sha256.Sum256([]byte(account + "\x00" + id))
		if w := binary.BigEndian.Uint64(sum[:8]); best == "" || w > most || (w == most && id < best) {
			best, most = id, w
		}
	}
	return best
}

// View is who is there, as one replica sees it.
type View struct {
	// Fresh: the bucket was read just now. When it is not, nothing may be concluded from who is missing.
	Fresh    bool
	Replicas []Replica // the live ones with this one, by id
}

// Owner is the replica that the account belongs to, "" if none is configured for it.
func (v View) Owner(account string) string {
	var ids []string
	for i := range v.Replicas {
		if r := &v.Replicas[i]; !r.Leaving && slices.Contains(r.Accounts, account) {
			ids = append(ids, r.ID)
		}
	}
	return Owner(account, ids)
}

// RunBy is another live replica than this one that runs the account, "" if none does.
func (v View) RunBy(account, self string) string {
	for i := range v.Replicas {
		if _, ok := v.Replicas[i].Running[account]; ok && v.Replicas[i].ID != self {
			return v.Replicas[i].ID
		}
	}
	return ""
}

// MembershipConfig is what a [Membership] needs.
type MembershipConfig struct {
	// ID is this process's name among the replicas; no other process may ever have used it.
	ID string
	// Describe says what to tell the others; ID and Word are filled in. It must not block.
	Describe func() Replica
}

// Membership is a replica's place among the others: it renews its entry, watches theirs, and knows for how long
// it may act as an owner. Its methods are safe for concurrent use.
type Membership struct {
	bus    *Bus
	cfg    MembershipConfig
	dead   time.Duration
	nudges chan struct{} // the next round is due now
	sub    *nats.Subscription

	stream jetstream.Stream // owned by whoever runs a round

	mu      sync.Mutex
	word    uint64
	peers   map[string]*peer // by id, without this one
	looked  time.Time        // when the last complete look at the bucket began
	proven  time.Time        // when the last renewal that was stored began
	term    uint64           // grows when the others may have thought this one dead
	begun   uint64           // rounds
	done    uint64           // the last round that succeeded
	changed chan struct{}    // closed, and made anew, by every round and word
	vouched map[string]time.Time
	self    Replica
	left    bool
}

// peer is another replica.
type peer struct {
	said Replica
	seen time.Time // when it last said something new, by this machine's clock
	gone bool      // it said good-bye
}

// Join takes a place among the replicas. [Membership.Run] has to follow.
func (b *Bus) Join(ctx context.Context, cfg MembershipConfig) (*Membership, error) {
	if cfg.ID == "" || cfg.Describe == nil {
		return nil, fmt.Errorf("bus: joining: %w: an id and a description are needed", ErrInvalid)
	}
	m := &Membership{
		bus: b, cfg: cfg, dead: deadExternal, nudges: make(chan struct{}, 1), term: 1,
		peers: map[string]*peer{}, changed: make(chan struct{}), vouched: map[string]time.Time{},
	}
	if b.server != nil {
		m.dead = deadEmbedded
	}
	sub, err := b.nc.Subscribe(Replicas.prefix()+"*", m.hear)
	if err != nil {
		return nil, fmt.Errorf("bus: joining the replicas: %w", fromNATS(err))
	}
	m.sub = sub
	if err := m.round(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bus: joining the replicas: %w", err), sub.Unsubscribe())
	}
	return m, nil
}

// ID is this replica's.
func (m *Membership) ID() string { return m.cfg.ID }

// Run keeps the place until ctx ends; [Membership.Leave] gives it up. A server that does not answer is no error.
func (m *Membership) Run(ctx context.Context) error {
	failing := false
	for {
		timer := time.NewTimer(m.pause(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-m.nudges:
			timer.Stop()
		}
		err := m.round(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				m.bus.cfg.Log.Warn("this replica cannot tell the others that it is alive", "error", err)
			} else {
				m.bus.cfg.Log.Info("this replica tells the others again that it is alive")
			}
		}
	}
}

// pause is how long until the next round: a renewal is due, or somebody would count as dead.
func (m *Membership) pause(now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	wait := renewEvery
	for _, p := range m.peers {
		if left := m.dead - now.Sub(p.seen); left > 0 && !p.gone {
			wait = min(wait, left+time.Millisecond)
		}
	}
	return wait
}

// Renew tells the others at once what [MembershipConfig.Describe] says now.
func (m *Membership) Renew() { signal(m.nudges) }

// round renews the entry and looks at everybody's.
func (m *Membership) round(ctx context.Context) error {
	m.mu.Lock()
	m.begun++
	number := m.begun
	m.mu.Unlock()
	if err := m.renew(ctx); err != nil {
		return err
	}
	if err := m.look(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = max(m.done, number)
	m.broadcast()
	return nil
}

func (m *Membership) broadcast() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// renew stores this replica's word. Nobody else writes the entry, so there is nothing to compare with.
func (m *Membership) renew(ctx context.Context) error {
	msg, err := m.message(false)
	if err != nil {
		return err
	}
	began := time.Now()
	pctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	if _, err := m.bus.js.PublishMsg(pctx, msg); err != nil {
		return errors.Join(fmt.Errorf("renewing: %w", fromNATS(err)), m.remake(ctx))
	}
	m.prove(began)
	return nil
}

// remake makes the bucket anew where the server has lost it: one that stands alone forgets what is in memory.
func (m *Membership) remake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ensureWait)
	defer cancel()
	lctx, stop := context.WithTimeout(ctx, renewTimeout)
	defer stop()
	if _, err := m.bus.js.Stream(lctx, kvPrefix+string(Replicas)); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	m.stream = nil
	return m.bus.ensureStreams(ctx)
}

func (m *Membership) message(farewell bool) (*nats.Msg, error) {
	r := m.cfg.Describe()
	m.mu.Lock()
	m.word++
	r.ID, r.Word = m.cfg.ID, m.word
	m.self = r
	m.mu.Unlock()
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("bus: describing this replica: %w", err)
	}
	msg := &nats.Msg{Subject: Replicas.prefix() + token(m.cfg.ID), Data: data, Header: nats.Header{}}
	if farewell {
		msg.Header.Set(headerOperation, operationDelete)
	}
	return msg, nil
}

// look reads everybody's entry from the bucket's leader.
func (m *Membership) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.bus.cfg.PublishTimeout)
	defer cancel()
	began := time.Now()
	if m.stream == nil {
		stream, err := m.bus.js.Stream(ctx, kvPrefix+string(Replicas))
		if err != nil {
			return fmt.Errorf("reading the replicas: %w", fromNATS(err))
		}
		m.stream = stream
	}
	info, err := m.stream.Info(ctx, jetstream.WithSubjectFilter(Replicas.prefix()+">"))
	if err != nil {
		m.stream = nil
		return fmt.Errorf("reading the replicas: %w", fromNATS(err))
	}
	var words []*nats.Msg
	for subject := range info.State.Subjects {
		last, err := m.stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a replica: %w", fromNATS(err))
		}
		words = append(words, &nats.Msg{Subject: subject, Header: last.Header, Data: last.Data})
	}
	m.looking(began, words)
	return nil
}

// looking folds a complete look. Time during which this replica could not look does not count against anybody.
func (m *Membership) looking(began time.Time, words []*nats.Msg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if blind := began.Sub(m.looked); !m.looked.IsZero() && blind > staleAfter {
		for _, p := range m.peers {
			if !p.gone && m.looked.Sub(p.seen) < m.dead {
				p.seen = minTime(p.seen.Add(blind), began)
			}
		}
	}
	m.looked = began
	stored := map[string]bool{}
	for _, msg := range words {
		if id := m.fold(msg, time.Now()); id != "" {
			stored[id] = true
		}
	}
	live := 1
	for id, p := range m.peers {
		switch alive := m.alive(p, began); {
		case alive:
			live++
		case !stored[id]:
			delete(m.peers, id)
		}
	}
	m.bus.metrics.replicas.Set(float64(live))
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// hear takes a word off the wire: the fast way to the same entries.
func (m *Membership) hear(msg *nats.Msg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fold(msg, time.Now())
	m.broadcast()
}

// fold takes one replica's word, and returns whose it is. The lock is held.
func (m *Membership) fold(msg *nats.Msg, now time.Time) string {
	var r Replica
	if err := json.Unmarshal(msg.Data, &r); err != nil || r.ID == "" || r.ID == m.cfg.ID ||
		msg.Subject != Replicas.prefix()+token(r.ID) {
		return "" // this one's own, or no replica's: the marker of a full read, or an entry that expired
	}
	p := m.peers[r.ID]
	if p == nil {
		p = &peer{}
		m.peers[r.ID] = p
	}
	if r.Word > p.said.Word {
		p.said, p.seen, p.gone = r, now, isMarker(msg.Header)
		for account, at := range r.Running {
			if at.After(m.vouched[account]) {
				m.vouched[account] = at
			}
		}
	}
	return r.ID
}

func (m *Membership) alive(p *peer, now time.Time) bool { return !p.gone && now.Sub(p.seen) < m.dead }

// View is who is there now.
func (m *Membership) View() View {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	v := View{Fresh: now.Sub(m.looked) < staleAfter, Replicas: []Replica{m.self}}
	// While nothing was read for a while, nobody dies: "frozen".
	until := minTime(now, m.looked.Add(staleAfter))
	for _, p := range m.peers {
		if m.alive(p, until) {
			v.Replicas = append(v.Replicas, p.said)
		}
	}
	slices.SortFunc(v.Replicas, func(a, b Replica) int { return strings.Compare(a.ID, b.ID) })
	return v
}

// Changed closes when there may be another view.
func (m *Membership) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Vouched is the time up to which the owners of the account, as far as they were heard, have dealt with its bodies.
func (m *Membership) Vouched(account string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.vouched[account]
}

// prove notes a renewal that was stored. One that comes so late that the others may have given this replica up
// begins a new term.
func (m *Membership) prove(began time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.proven.IsZero() && m.lapsed(began) {
		m.term++
		m.bus.metrics.lapses.Inc()
	}
	m.proven = began
}

// elapsed is the time since the last proof, by whichever clock says more: the monotonic one stands still while a
// machine sleeps, the other one can be set back.
func (m *Membership) elapsed(now time.Time) time.Duration {
	return max(now.Sub(m.proven), now.Round(0).Sub(m.proven.Round(0)))
}

func (m *Membership) lapsed(now time.Time) bool {
	return m.bus.server == nil && m.elapsed(now) >= m.dead
}

// Term is what an owner has to remember when it starts an account, for [Membership.Holds] and [Membership.Lapsed].
func (m *Membership) Term() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.term
}

// Holds tells whether this replica may act for the accounts that it started in that term: the others have heard of it
// so lately that none of them has taken over. It is asked before every write. The only process on an embedded
// server always may.
func (m *Membership) Holds(term uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return term == m.term && (m.bus.server != nil || m.elapsed(time.Now()) < m.dead-standAside)
}

// Lapsed tells whether the others may have taken over what was started in that term: it has to be stopped, and may
// be started again in the present term.
func (m *Membership) Lapsed(term uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return term != m.term || m.lapsed(time.Now())
}

// Confirm returns when this replica has renewed its entry and looked at everybody's since the call, or with an error
// when it could not.
func (m *Membership) Confirm(ctx context.Context) error {
	m.mu.Lock()
	need := m.begun + 1
	m.mu.Unlock()
	m.Renew()
	for {
		m.mu.Lock()
		done, changed := m.done >= need, m.changed
		m.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: looking who else runs the account: %w", ErrUnavailable, ctx.Err())
		case <-m.bus.ctx.Done():
			return ErrClosed
		}
	}
}

// Leave gives the place up; the others know it at once. Call it after Run has returned.
func (m *Membership) Leave(ctx context.Context) error {
	m.mu.Lock()
	left := m.left
	m.left = true
	m.mu.Unlock()
	if left {
		return nil
	}
	err := m.sub.Unsubscribe()
	msg, e := m.message(true)
	if e == nil {
		ctx, cancel := context.WithTimeout(ctx, renewTimeout)
		defer cancel()
		_, e = m.bus.js.PublishMsg(ctx, msg)
	}
	if err = errors.Join(err, e); err != nil {
		return fmt.Errorf("bus: leaving the replicas: %w", fromNATS(err))
	}
	return nil
}

package monitors

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Whether Graph reaches the bridge can only be seen by having it try. A subscription is made for nothing but that: Graph
// validates both of its URLs before it answers (learn:change-notifications-delivery-webhooks). It needs a signed-in
// user who has no subscription, because there is room for one each; so a spare monitor lends its place for the moment.
// It watches that monitor itself, who is no member, and is deleted at once.

const (
	// probeLife is the shortest that Graph gives anyway (learn:api/resources/subscription), should deleting it fail.
	probeLife = 45 * time.Minute
	// probeTime bounds the whole of it: Graph waits 10 s for the answer to each of the two validations, at once.
	probeTime = 25 * time.Second
	// probeAttempts is how often it is tried to delete it.
	probeAttempts = 3
)

// ErrNoneFree is about a probe for which every signed-in monitor is needed elsewhere.
var ErrNoneFree = errors.New("monitors: no monitor is free: each one that is signed in carries a subscription")

// ErrProbing is about a second probe at the same time.
var ErrProbing = errors.New("monitors: a probe is under way")

// Probe is what came of having Graph try to reach the bridge.
type Probe struct {
	UPN  string        // the monitor that lent its place
	Took time.Duration // until Graph's answer
	// Err is why Graph made no subscription: a [*CallError]. Refused with Graph's own words is about the URLs.
	Err error
}

// Probe has Graph validate the public URLs, through a monitor that is free. The error says that this could not be tried.
func (m *Manager) Probe(ctx context.Context) (Probe, error) {
	if _, err := m.runs(); err != nil {
		return Probe{}, err
	}
	if !m.probing.TryLock() {
		return Probe{}, ErrProbing
	}
	defer m.probing.Unlock()
	mo := m.lend()
	if mo == nil {
		return Probe{}, ErrNoneFree
	}
	defer mo.giveBack()
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	select {
	case mo.using <- struct{}{}:
	case <-ctx.Done():
		return Probe{}, ctx.Err()
	}
	defer func() { <-mo.using }()
	return mo.probeGraph(ctx)
}

// lend takes a spare monitor, so that no shard is handed over to it meanwhile.
func (m *Manager) lend() *monitor {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mo := range m.active() {
		if mo.free() {
			mo.mu.Lock()
			mo.lent = true
			mo.mu.Unlock()
			return mo
		}
	}
	return nil
}

func (mo *monitor) giveBack() {
	mo.mu.Lock()
	mo.lent = false
	mo.mu.Unlock()
	mo.wake()
}

// probeGraph makes the subscription and deletes it again.
func (mo *monitor) probeGraph(ctx context.Context) (Probe, error) {
	mo.mu.Lock()
	user := mo.rec.ObjectID
	mo.mu.Unlock()
	if user == "" {
		return Probe{}, fmt.Errorf("monitors: the object id of %s is not known: authorise it again", mo.id)
	}
	state, err := mo.m.cfg.NewClientState()
	if err != nil {
		return Probe{}, fmt.Errorf("monitors: make a client state: %w", err)
	}
	cert := mo.m.certificate()
	began := time.Now()
	sub, err := mo.delegated.CreateSubscription(ctx, SubscriptionRequest{
		UserIDs: []string{user}, NotificationURL: mo.m.notificationURL(), LifecycleURL: mo.m.lifecycleURL(), ClientState: state,
		Expiration: began.Add(probeLife), EncryptionCertificate: cert.DER, EncryptionCertificateID: cert.ID,
	})
	p := Probe{UPN: mo.upn, Took: time.Since(began)}
	if err != nil {
		p.Err = callError(err)
		if callError(err).Kind != Transient {
			return p, nil
		}
	}
	mo.clearAway(context.WithoutCancel(ctx), sub.ID)
	return p, nil
}

// clearAway deletes the probe's subscription. Without an answer it may exist all the same; the monitor has no other one. If
// nothing helps, it is in the way of the monitor's next one, which deletes it (adopt), or it expires.
func (mo *monitor) clearAway(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	for try := 1; ; try++ {
		var err error
		if id == "" {
			err = mo.clearUnanswered(ctx)
		} else {
			err = mo.deleteSubscription(ctx, id)
		}
		if err == nil {
			return
		}
		if try == probeAttempts || !sleep(ctx, backoff(try, time.Second, firstPause)) {
			mo.m.log.Warn("the subscription of a probe cannot be deleted; it expires by itself", "monitor", mo.id, "error", err)
			return
		}
	}
}

// clearUnanswered deletes the subscriptions of this bridge's whose answer never came.
func (mo *monitor) clearUnanswered(ctx context.Context) error {
	subs, err := mo.delegated.ListSubscriptions(ctx)
	if err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	for _, s := range subs {
		if s.NotificationURL != mo.m.notificationURL() {
			continue
		}
		if err := mo.deleteSubscription(ctx, s.ID); err != nil {
			return err
		}
	}
	return nil
}

package monitors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// create makes the monitor's subscription for the wanted list. What is asked for is stored before the
// request, so that a subscription whose answer was lost is known again (adopt).
func (mo *monitor) create(ctx context.Context) error {
	ask, shardID, der, err := mo.ask(ctx)
	if err != nil || len(ask.Members) == 0 { // everybody left just now
		return err
	}
	state, err := mo.m.cfg.Sealer.Open(ask.ClientState, mo.sealContext(sealedClientState))
	if err != nil {
		return fmt.Errorf("open a client state: %w", err)
	}
	request := SubscriptionRequest{
		UserIDs: ask.Members, NotificationURL: mo.m.notificationURL(), LifecycleURL: mo.m.lifecycleURL(),
		ClientState: string(state), Expiration: time.Now().Add(askedLife),
		EncryptionCertificate: der, EncryptionCertificateID: ask.Certificate,
	}
	sub, err := mo.delegated.CreateSubscription(ctx, request)
	if err != nil && callError(err).Kind == Conflict {
		// "A subscripton already exists. It must be deleted before a another can be made": one per
		// application and user (facts section 3).
		adopted, adoptErr := mo.adopt(ctx, ask, shardID)
		if adopted || adoptErr != nil {
			return adoptErr
		}
		sub, err = mo.delegated.CreateSubscription(ctx, request)
	}
	if err != nil {
		return fmt.Errorf("create a subscription: %w", err)
	}
	mo.m.log.Info("subscription created", "monitor", mo.id, "shard", shardID, "members", len(ask.Members), "expires", sub.Expiration)
	mo.holds(ctx, sub, ask, shardID)
	return nil
}

// ask writes down what create is about to ask for. An unanswered request for the same is repeated with
// the same client state.
func (mo *monitor) ask(ctx context.Context) (asked, string, []byte, error) {
	cert := mo.m.certificate()
	mo.mu.Lock()
	want, shardID, before := mo.want, mo.wantShard, mo.rec.Asked
	mo.mu.Unlock()
	if len(want) == 0 {
		return asked{}, "", nil, nil
	}
	if before != nil && before.Certificate == cert.ID && slices.Equal(before.Members, want) {
		if _, err := mo.m.cfg.Sealer.Open(before.ClientState, mo.sealContext(sealedClientState)); err == nil {
			return *before, shardID, cert.DER, nil
		}
	}
	state, err := mo.m.cfg.NewClientState()
	if err != nil {
		return asked{}, "", nil, fmt.Errorf("make a client state: %w", err)
	}
	sealed, err := mo.m.cfg.Sealer.Seal([]byte(state), mo.sealContext(sealedClientState))
	if err != nil {
		return asked{}, "", nil, fmt.Errorf("seal a client state: %w", err)
	}
	a := asked{ClientState: sealed, Certificate: cert.ID, Members: want, At: time.Now()}
	err = mo.change(ctx, func(r *record) { r.Asked, r.Subscription = &a, nil })
	return a, shardID, cert.DER, err
}

// holds notes a subscription that exists, and has its members read: pushes from before it was there are
// lost. If the store fails, that is noted in memory and stored later; until then Asked is on record.
func (mo *monitor) holds(ctx context.Context, sub Subscription, ask asked, shardID string) {
	now := time.Now()
	err := mo.change(ctx, func(r *record) {
		r.Subscription = &subscription{
			ID: sub.ID, ClientState: ask.ClientState, Certificate: ask.Certificate, Created: now, Renewed: now,
			Returned: sub.Expiration, Expires: expiry(sub.Expiration, now),
		}
		r.Members, r.Shard, r.Asked = ask.Members, shardID, nil
	})
	if err != nil {
		mo.m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
	mo.settled(now)
	mo.settleEstate()
	mo.m.cfg.Sink.OweReads(ask.Members)
}

// settled brings the plans up to date after the subscription changed.
func (mo *monitor) settled(now time.Time) {
	mo.mu.Lock()
	mo.challenge, mo.check = false, false
	if s := mo.rec.Subscription; s == nil || s.Created.Equal(now) {
		mo.hearing.silent, mo.hearing.pushes, mo.hearing.misses = false, 0, 0
		mo.rotateAt = time.Time{}
	}
	mo.planRenewal()
	mo.compare(now)
	mo.mu.Unlock()
	mo.m.version.Add(1)
}

// expiry is when a subscription made or renewed now ends, by our clock. Graph gives 45 to 60 min
// (learn:api/resources/subscription), so a time that is nearly past, or further off than that, means
// that the clocks differ; it must not make the bridge create subscriptions without end.
func expiry(returned, now time.Time) time.Time {
	switch left := returned.Sub(now); {
	case left < 5*time.Minute:
		return now.Add(45 * time.Minute)
	case left > askedLife:
		return now.Add(askedLife)
	default:
		return returned
	}
}

// adopt looks for the subscription that is in the way (409). One that is what we want is kept, any
// other deleted: it is of this application and this user, so nobody else depends on it.
func (mo *monitor) adopt(ctx context.Context, ask asked, shardID string) (bool, error) {
	subs, err := mo.delegated.ListSubscriptions(ctx)
	if err != nil {
		return false, fmt.Errorf("list subscriptions: %w", err)
	}
	adopted := false
	for _, s := range subs {
		if !adopted && mo.ours(s, ask) {
			adopted = true
			mo.m.metrics.adoptions.WithLabelValues("adopted").Inc()
			mo.m.log.Info("subscription adopted", "monitor", mo.id, "shard", shardID, "members", len(ask.Members), "expires", s.Expiration)
			mo.holds(ctx, s, ask, shardID)
			continue
		}
		mo.m.metrics.adoptions.WithLabelValues("deleted").Inc()
		if err := mo.deleteSubscription(ctx, s.ID); err != nil {
			return adopted, err
		}
	}
	return adopted, nil
}

// ours tells whether a listed subscription is the one that was asked for. The list does not say the
// client state (learn:api/subscription-list); any that we made passes our check.
func (mo *monitor) ours(s Subscription, ask asked) bool {
	if s.NotificationURL != mo.m.notificationURL() || s.CertificateID != ask.Certificate || len(s.UserIDs) == 0 {
		return false
	}
	if time.Until(s.Expiration) < 5*time.Minute {
		return false
	}
	ids := slices.Clone(s.UserIDs)
	for i := range ids {
		ids[i] = canonicalUPN(ids[i])
	}
	slices.Sort(ids)
	return slices.Equal(slices.Compact(ids), ask.Members)
}

// recreate replaces the subscription by one for the wanted list. There is no other way to change it
// (learn:api/subscription-update), and no room for two.
func (mo *monitor) recreate(ctx context.Context) error {
	if err := mo.drop(ctx); err != nil {
		return err
	}
	return mo.create(ctx)
}

// remove ends the subscription of a monitor that has nobody to watch.
func (mo *monitor) remove(ctx context.Context) error {
	if err := mo.drop(ctx); err != nil {
		return err
	}
	err := mo.change(ctx, func(r *record) { r.Members, r.Shard, r.Asked = nil, "", nil })
	mo.settled(time.Now())
	return err
}

// drop deletes the subscription at Graph and then in the record.
func (mo *monitor) drop(ctx context.Context) error {
	mo.mu.Lock()
	s := mo.rec.Subscription
	mo.mu.Unlock()
	if s == nil {
		return nil
	}
	if err := mo.deleteSubscription(ctx, s.ID); err != nil {
		return err
	}
	return mo.lost(ctx)
}

// lost notes that there is no subscription any more.
func (mo *monitor) lost(ctx context.Context) error {
	err := mo.change(ctx, func(r *record) { r.Subscription = nil })
	mo.settled(time.Now())
	return err
}

func (mo *monitor) deleteSubscription(ctx context.Context, id string) error {
	err := mo.delegated.DeleteSubscription(ctx, id)
	if err != nil && callError(err).Kind != Gone {
		return fmt.Errorf("delete a subscription: %w", err)
	}
	return nil
}

// renew extends the subscription. PATCH alone: it re-authorises as well, and together with /reauthorize
// within 10 min it can leave the subscription inconsistent (learn:change-notifications-lifecycle-events).
func (mo *monitor) renew(ctx context.Context) error {
	mo.mu.Lock()
	s := *mo.rec.Subscription
	mo.mu.Unlock()
	sub, err := mo.delegated.RenewSubscription(ctx, s.ID, time.Now().Add(askedLife))
	if err != nil && callError(err).Kind == Gone {
		// "404 = gone, create anew, don't retry" (learn:api/subscription-update).
		mo.m.log.Warn("subscription is gone, it is made anew", "monitor", mo.id)
		if err := mo.lost(ctx); err != nil {
			return err
		}
		return mo.create(ctx)
	}
	if err != nil {
		return fmt.Errorf("renew a subscription: %w", err)
	}
	now := time.Now()
	if !sub.Expiration.After(s.Returned) && now.Sub(s.Renewed) > time.Minute {
		return mo.unextended(ctx, s, now)
	}
	err = mo.change(ctx, func(r *record) {
		if r.Subscription != nil && r.Subscription.ID == s.ID {
			renewed := *r.Subscription
			renewed.Renewed, renewed.Returned, renewed.Expires = now, sub.Expiration, expiry(sub.Expiration, now)
			r.Subscription = &renewed
		}
	})
	if err != nil {
		mo.m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
	mo.settled(now)
	return nil
}

// unextended deals with a renewal that was answered with 200 and the old expiry (contrib#4751): it is
// tried again, and shortly before the end the subscription is made anew.
func (mo *monitor) unextended(ctx context.Context, s subscription, now time.Time) error {
	if s.Expires.Sub(now) < 5*time.Minute {
		mo.m.log.Warn("subscription cannot be extended, it is made anew", "monitor", mo.id)
		return mo.recreate(ctx)
	}
	return &CallError{Kind: Transient, Text: "the old expiry was returned", Err: errUnextended}
}

// probe asks whether the sign-in is accepted again, by a token that is fetched afresh, since Graph may still take the one
// from before, and by listing the subscriptions; what is no longer among them is forgotten.
func (mo *monitor) probe(ctx context.Context) error {
	if err := mo.delegated.Refresh(ctx); err != nil {
		return fmt.Errorf("fetch a token: %w", err)
	}
	subs, err := mo.delegated.ListSubscriptions(ctx)
	if err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	err = mo.change(ctx, func(r *record) {
		if r.State == StateNeedsAttention {
			r.Status = Status{State: StateAuthorized, Since: time.Now()}
		}
		if r.Subscription != nil && !slices.ContainsFunc(subs, func(s Subscription) bool { return s.ID == r.Subscription.ID }) {
			r.Subscription = nil
		}
	})
	if err != nil {
		mo.m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
	}
	mo.m.log.Info("monitor is accepted again", "monitor", mo.id)
	mo.settled(time.Now())
	mo.m.changed()
	return nil
}

// dropAll deletes the monitor's subscription, also one whose answer never came.
func (mo *monitor) dropAll(ctx context.Context) error {
	if err := mo.drop(ctx); err != nil {
		return err
	}
	mo.mu.Lock()
	asked := mo.rec.Asked != nil
	mo.mu.Unlock()
	if !asked {
		return nil
	}
	return mo.clearUnanswered(ctx)
}

// retire ends what a monitor that is no longer configured left behind: its subscription is deleted if
// that can be done, and its secrets are wiped in any case.
func (mo *monitor) retire(ctx context.Context) error {
	mo.mu.Lock()
	done := mo.rec.State == StateRetired && len(mo.rec.Token) == 0
	mo.mu.Unlock()
	if done {
		if err := mo.flush(ctx); err != nil {
			mo.m.log.Warn("monitor cannot be stored yet", "monitor", mo.id, "error", err)
		}
		return nil
	}
	for try := 1; try <= 3; try++ {
		err := mo.dropAll(ctx)
		if err == nil || callError(err).Kind == Unauthorised {
			break
		}
		if !sleep(ctx, backoff(try, firstPause, longestPause)) {
			return ctx.Err()
		}
	}
	for try := 1; ; try++ {
		err := mo.change(ctx, func(r *record) {
			*r = record{UPN: r.UPN, Removed: r.Removed, Status: Status{State: StateRetired, Since: time.Now(), Text: "the monitor is no longer configured"}}
			if r.Removed {
				r.Text, r.Remedy = "the monitor was removed", "delete it from the configuration too; or take it back: presence-bridge monitors add UPN"
			}
		})
		if err == nil {
			mo.m.log.Info("monitor retired", "monitor", mo.id)
			return nil
		}
		mo.m.log.Warn("monitor cannot be retired yet", "monitor", mo.id, "error", err)
		if !sleep(ctx, backoff(try, firstPause, longestPause)) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

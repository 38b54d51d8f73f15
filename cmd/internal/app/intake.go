package app

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"presencebridge/bridge"
	"presencebridge/bridge/bus"
	"presencebridge/graph/notify"
	"presencebridge/monitors"
)

// decoded is a body on its way from decryption to the engine.
type decoded struct {
	body   *bus.Body
	result chan notify.Result
}

// intake takes the account's notifications off the bus until taking ends, and folds what it took while working lasts, for
// a moment at the end. Bodies are decrypted side by side, in the pool that is bounded to the CPUs, and folded in the
// order of their arrival.
func (a *account) intake(taking, working context.Context) error {
	working, cancel := context.WithCancel(working)
	defer cancel()
	g, working := errgroup.WithContext(working)
	queue := make(chan decoded, 16)
	folded := make(chan struct{})
	g.Go(func() error {
		defer close(queue)
		return a.app.bus.Consume(taking, a.name, notify.EstimateWork, func(b *bus.Body) {
			d := decoded{body: b, result: make(chan notify.Result, 1)}
			g.Go(func() error {
				d.result <- a.decoder.Decode(working, b.Data, b.Progress)
				return nil
			})
			select {
			case queue <- d:
			case <-working.Done():
			}
		}, bus.OnGap(func(gap bus.Gap) {
			a.log.Warn("notifications may have been lost, reading everybody", "reason", string(gap.Reason))
			a.engine.OweReads(working, a.engine.MemberIDs())
		}), bus.ReadTo(a.readTo))
	})
	g.Go(func() error {
		defer close(folded)
		for d := range queue {
			a.fold(working, d.body, <-d.result)
		}
		return nil
	})
	g.Go(func() error { // what takes longer comes again, to the next owner
		select {
		case <-folded:
			return nil
		case <-taking.Done():
		}
		timer := time.NewTimer(foldTime)
		defer timer.Stop()
		select {
		case <-folded:
		case <-timer.C:
			cancel()
		}
		return nil
	})
	return g.Wait()
}

// fold hands one body's items to the engine, and acknowledges the body once what followed is stored.
func (a *account) fold(ctx context.Context, body *bus.Body, res notify.Result) {
	if wait, retry := res.Retry(); retry {
		if err := body.Retry(max(wait, time.Second)); err != nil {
			a.log.Debug("body was not handed back", "error", err)
		}
		return
	}
	var (
		pushes []bridge.Push
		basic  []string
		heard  = map[string][]monitors.Push{}
	)
	for i := range res.Items {
		it := &res.Items[i]
		if it.Err != nil { // counted by the decoder; its neighbours do not suffer
			if a.stillGenuine(it) {
				basic = append(basic, it.UserID)
				heard[it.SubscriptionID] = append(heard[it.SubscriptionID], monitors.Push{ID: it.UserID})
			}
			continue
		}
		switch it.Kind {
		case notify.Rich:
			pushes = append(pushes, bridge.Push{
				Member: it.UserID, Pair: it.Pair, Mark: bridge.Mark{Stream: body.Stream, Seq: body.Seq, Item: it.Index}, Arrived: body.Arrived,
			})
		case notify.Basic: // says that something changed, not to what
			basic = append(basic, it.UserID)
		case notify.Lifecycle:
			a.monitors.OnLifecycle(it.SubscriptionID, it.LifecycleEvent)
		case notify.Ignored:
			continue
		}
		if it.UserID != "" {
			heard[it.SubscriptionID] = append(heard[it.SubscriptionID], monitors.Push{ID: it.UserID, Pair: it.Pair})
		}
	}
	for subscription, told := range heard {
		a.monitors.Told(subscription, told, body.Arrived)
	}
	a.engine.OweReads(ctx, basic)
	a.engine.Push(ctx, pushes, func() {
		if err := body.Ack(); err != nil {
			a.log.Debug("body was not acknowledged, it will come again", "error", err)
		}
	})
}

// stillGenuine tells whether an item that could not be read came from Graph all the same: it passed everything
// that says who sent it. What it would have said is read instead.
func (a *account) stillGenuine(it *notify.Item) bool {
	reason := notify.ReasonOf(it.Err)
	if reason == notify.ReasonUnknownCertificate { // made by another owner of the account, perhaps
		if err := a.setCertificates(a.monitors.DecryptionKeys()); err != nil {
			a.log.Warn("the certificates could not be read again", "error", err)
		}
	}
	return it.UserID != "" && reason >= notify.ReasonContentIncomplete
}

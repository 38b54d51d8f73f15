package sip

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"presencebridge/bridge/pbx"
)

const (
	// longEnough is how long a connection must have lived for the backoff to begin anew.
	longEnough = 5 * time.Second
	// maxWait is the longest wait that a PBX can ask for between connections.
	maxWait = 5 * time.Minute
)

// errWatched is returned by a second Watch at the same time.
var errWatched = errors.New("sip: this pbx is being watched already")

// Watch implements [pbx.Connector]. It returns ctx's error.
func (c *Client) Watch(ctx context.Context, deliver func(pbx.Event)) error {
	if !c.watched.CompareAndSwap(false, true) {
		return errWatched
	}
	defer c.watched.Store(false)
	defer c.keepNone()
	defer c.tracker.Idle()
	defer c.setSession(nil, nil)
	bo := &backoff.ExponentialBackOff{InitialInterval: c.cfg.BackoffMin, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: c.cfg.BackoffMax}
	bo.Reset()
	for ctx.Err() == nil {
		began := time.Now()
		err := c.watchOnce(ctx, deliver)
		c.setSession(nil, err)
		c.metrics.Up(false)
		if ctx.Err() != nil {
			break
		}
		c.tracker.Failed(explain(err))
		c.metrics.Connection("failed")
		if time.Since(began) >= longEnough {
			bo.Reset()
		}
		pause := bo.NextBackOff()
		var pe *pbx.Error
		if errors.As(err, &pe) {
			pause = max(pause, pe.RetryAfter)
		}
		pause = min(pause, maxWait)
		c.cfg.Log.InfoContext(ctx, "the watch of the pbx is interrupted", "error", err, "retry_in", pause.String())
		sleep(ctx, pause)
	}
	return ctx.Err()
}

// watchOnce watches on one link until that ends.
func (c *Client) watchOnce(ctx context.Context, deliver func(pbx.Event)) error {
	l, err := c.flow(ctx)
	if err != nil {
		return err
	}
	if err := l.ping(ctx); err != nil {
		if ctx.Err() == nil {
			l.fail(errSilent)
		}
		return err
	}
	s := c.newSession(l)
	c.setSession(s, nil)
	c.renewAll()
	return s.run(ctx, deliver)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

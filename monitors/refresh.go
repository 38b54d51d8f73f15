package monitors

import (
	"context"
	"time"
)

// Entra ends a sign-in at once when an account is disabled, its sessions are revoked or a policy no longer lets it in, but an
// access token that was given out before goes on being good for the rest of its life, an hour or more; only clients that
// declare continuous access evaluation are cut off earlier (entra: configurable-token-lifetimes,
// concept-continuous-access-evaluation). Whatever the monitor does meanwhile works, until everything fails at once; and
// Graph pauses what it delivers for a token that has ended. So the sign-in is tried now and then, by
// fetching a token before its time: that is when Entra looks at it.

const (
	// refreshEvery is how often. It costs one request to the token endpoint, where a monitor makes one an hour
	// otherwise: 15 a minute for the 154 monitors of 100,000 members. Much more often would look like a client that
	// asks in a loop, which Entra stops (AADSTS50196); less often would leave little of the hour.
	refreshEvery = 10 * time.Minute
	// refreshTime bounds it: the subscription is not kept waiting for a login endpoint that does not answer.
	refreshTime = 15 * time.Second
)

// planRefresh sets when the sign-in is tried next, if it is one. mu is held.
func (mo *monitor) planRefresh(now time.Time) {
	switch {
	case mo.rec.State != StateAuthorized:
		mo.refreshAt, mo.refused = time.Time{}, 0
	case mo.refreshAt.IsZero():
		mo.refreshAt = now.Add(jitter(mo.m.cfg.RefreshEvery, 0.3))
	}
}

// refresh tries the sign-in. What it is refused for takes the monitor out of service like any other refusal, while its
// subscription still delivers: a spare takes over without a gap. An error that says nothing about the sign-in, and one
// about the application, which every other monitor would meet as well, leave things as they are: the token at hand is good to
// its end.
func (mo *monitor) refresh(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, refreshTime)
	defer cancel()
	err := mo.delegated.Refresh(limited)
	if ctx.Err() != nil {
		return
	}
	result, wait := "ok", jitter(mo.m.cfg.RefreshEvery, 0.3)
	e := callError(err)
	if err != nil {
		result = e.Kind.String()
	}
	mo.m.metrics.actions.WithLabelValues(string(actRefresh), result).Inc()
	refused := err != nil && (e.Kind == Unauthorised || e.Kind == Consent)
	if refused && !mo.diagnose(e).ofApplication {
		mo.needAttention(e)
		return
	}
	mo.mu.Lock()
	mo.refused++
	if err == nil {
		mo.refused = 0
	} else {
		wait = max(backoff(mo.refused, firstProbe, mo.m.cfg.RefreshEvery), e.RetryAfter)
	}
	mo.refreshAt = time.Now().Add(wait)
	mo.mu.Unlock()
	if err != nil {
		mo.m.log.Warn("whether the monitor's sign-in still stands could not be seen, its token is used to its end", "monitor", mo.id, "error", err, "retry_in", wait.String())
	}
}

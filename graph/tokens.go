package graph

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// token is an access token.
type token struct {
	value   string
	issued  time.Time
	expires time.Time
}

// fresh tells whether the token can be used without thinking of the next one: until five minutes
// before its end, or a fifth of its life where that is less.
func (t token) fresh(now time.Time) bool {
	margin := min(5*time.Minute, t.expires.Sub(t.issued)/5)
	return t.value != "" && now.Before(t.expires.Add(-margin))
}

// usable tells whether the token is still good for a request.
func (t token) usable(now time.Time) bool {
	return t.value != "" && now.Before(t.expires.Add(-min(30*time.Second, t.expires.Sub(t.issued)/10)))
}

// grant is one way to a token: what proves the identity, read just now.
type grant struct {
	// fingerprint changes when what the grant stands on changes (a rotated secret, another refresh token).
	fingerprint [32]byte
	fetch       func(context.Context) (token, *Error)
}

// tokenSource caches one identity's access token. A token that nears its end is replaced by the
// first who asks while the others wait; when that fails they go on with the old one to its end, so that
// an outage of the login endpoint does not stop what Graph would still do.
type tokenSource struct {
	log     *slog.Logger
	prepare func(context.Context) (grant, *Error)

	turn chan struct{} // holds one element while somebody fetches

	mu      sync.Mutex
	current token
	// doubted: the token lacks a permission, the next one may have it.
	doubted bool
	// forced is when a token was last fetched because Graph did not take the one at hand.
	forced time.Time
	// A failure is remembered for a while, for as long as the grant stays the same: a wrong secret
	// must not become a request to the login endpoint for each member.
	failure *Error
	failed  [32]byte
	until   time.Time
}

func newTokenSource(log *slog.Logger, prepare func(context.Context) (grant, *Error)) *tokenSource {
	return &tokenSource{log: log, prepare: prepare, turn: make(chan struct{}, 1)}
}

// renew fetches another token, however good the one at hand is.
func (s *tokenSource) renew(ctx context.Context) error {
	s.mu.Lock()
	stale := s.current.value
	s.forced = time.Time{}
	s.mu.Unlock()
	_, err := s.get(ctx, stale)
	return err
}

// Bounds of asking for a token before the old one's time: what Graph refuses with a fresh token it will
// refuse with the next one too, for every member.
const (
	forcedEvery = 10 * time.Second
	doubtAfter  = time.Minute
)

// get returns a token, another one than stale unless that was itself fetched for such a reason just now.
func (s *tokenSource) get(ctx context.Context, stale string) (string, error) {
	if t, ok := s.good(stale); ok {
		return t.value, nil
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		if t := s.cached(stale); t.usable(time.Now()) {
			return t.value, nil
		}
		return "", contextError(ctx, "get token")
	}
	defer func() { <-s.turn }()
	t, ok := s.good(stale)
	if ok {
		return t.value, nil // somebody else fetched it meanwhile
	}
	next, e := s.fetch(ctx)
	if e == nil {
		if stale != "" {
			s.setForced()
		}
		return next.value, nil
	}
	if t.usable(time.Now()) {
		s.log.Warn("token could not be renewed, the old one is used to its end", "kind", e.Kind.String(), "code", e.Code, "expires", t.expires)
		return t.value, nil
	}
	return "", e
}

// cached is the token at hand, nothing if that is the stale one.
func (s *tokenSource) cached(stale string) token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.value == stale && time.Since(s.forced) >= forcedEvery {
		return token{}
	}
	return s.current
}

// good is [tokenSource.cached], and whether nothing better needs to be fetched.
func (s *tokenSource) good(stale string) (token, bool) {
	t := s.cached(stale)
	s.mu.Lock()
	defer s.mu.Unlock()
	return t, t.fresh(time.Now()) && !s.doubted
}

// setForced remembers that a token was fetched before its time.
func (s *tokenSource) setForced() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forced = time.Now()
}

// doubt has the next call fetch another token, if this one has some age.
func (s *tokenSource) doubt(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.value == value && time.Since(s.current.issued) >= doubtAfter {
		s.doubted = true
	}
}

// outlive has the next call fetch another token if this one ends within d, unless tokens never last that long.
func (s *tokenSource) outlive(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.current
	if t.value != "" && time.Until(t.expires) < d && t.expires.Sub(t.issued) > d {
		s.doubted = true
	}
}

// fetch gets a new token, or the remembered failure. The caller has the turn.
func (s *tokenSource) fetch(ctx context.Context) (token, *Error) {
	g, e := s.prepare(ctx)
	if e != nil {
		return token{}, e
	}
	s.mu.Lock()
	if left := time.Until(s.until); s.failure != nil && left > 0 && s.failed == g.fingerprint {
		again := *s.failure
		s.mu.Unlock()
		if again.Kind == Throttled {
			again.RetryAfter = left
		}
		return token{}, &again
	}
	s.mu.Unlock()
	t, e := g.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e != nil {
		s.failure, s.failed, s.until = nil, g.fingerprint, time.Now().Add(remembered(e))
		if ctx.Err() == nil {
			s.failure = e
		}
		return token{}, e
	}
	s.current, s.failure, s.doubted = t, nil, false
	return t, nil
}

// remembered is how long a failure stands without asking again.
func remembered(e *Error) time.Duration {
	switch {
	case e.RetryAfter > 0:
		return e.RetryAfter
	case e.Kind == Transient:
		return 200 * time.Millisecond
	case e.Kind == Throttled:
		return 5 * time.Second
	default:
		return 10 * time.Second
	}
}

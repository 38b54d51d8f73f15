package pbxsim

import (
	"context"
	"net/http"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// outcome is what became of a PUT.
type outcome struct {
	status   int
	presence Presence
}

// write carries a PUT out.
func (s *Sim) write(id string, put wirePut, match ifMatch, by string) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[id]
	if !ok {
		s.stats.WritesGone++
		return outcome{status: http.StatusNotFound}
	}
	if match != nil && time.Now().Before(u.stormUntil) {
		s.blink(u)
	}
	if match != nil && !match(u.version) {
		s.stats.WritesConflict++
		return outcome{status: http.StatusPreconditionFailed}
	}
	if _, ok := s.statusNamed(*put.Status); !ok {
		s.stats.WritesRefused++
		return outcome{status: http.StatusUnprocessableEntity}
	}
	before := s.seen(u)
	if !s.choose(u, put.Status, put.Message, by) {
		s.stats.WritesNoChange++
		return outcome{http.StatusOK, u.presence()}
	}
	s.stats.WritesApplied++
	if s.dice.Hit(s.faults.ReadLag) {
		u.lagged, u.laggedUntil = before, time.Now().Add(s.dice.UpTo(s.faults.ReadLagBy))
	}
	return outcome{http.StatusOK, u.presence()}
}

// blink is a call so short that the line shows what it showed before, on a site that counts the line.
func (s *Sim) blink(u *person) {
	before := u.presence()
	u.version++
	s.stats.LineChanges++
	s.tell(u, before, byLine)
}

// seen is what a read shows: for a while perhaps what was before.
func (s *Sim) seen(u *person) Presence {
	if time.Now().Before(u.laggedUntil) {
		return u.lagged
	}
	return u.presence()
}

func (s *Sim) visible(id string) (Presence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.users[id]
	if !ok {
		return Presence{}, ErrNoUser
	}
	return s.seen(u), nil
}

// mayAnswer lets the faults of ordinary requests happen. False: the request has been dealt with.
func (s *Sim) mayAnswer(w http.ResponseWriter) bool {
	s.mu.Lock()
	f := s.faults
	slow := time.Duration(0)
	if s.dice.Hit(f.Slow) {
		s.stats.Slowed++
		slow = s.dice.UpTo(f.SlowBy)
	}
	cut, errs, throttled := s.dice.Hit(f.Cut), s.dice.Hit(f.Errors), s.dice.Hit(f.Throttled)
	status := []int{500, 502, 503}[s.dice.Number(3)]
	date := s.dice.Hit(0.5)
	switch {
	case cut:
		s.stats.RequestsCut++
	case errs:
		s.stats.Errors++
	case throttled:
		s.stats.Throttled++
	}
	s.mu.Unlock()
	s.wait(slow)
	switch {
	case cut:
		abort(w)
	case errs:
		fail(w, status, "internal", "something went wrong")
	case throttled:
		failRetry(w, http.StatusTooManyRequests, f.RetryAfter, date)
	default:
		return true
	}
	return false
}

// putFault lets the faults of writes happen. True: the request has been dealt with.
func (s *Sim) putFault(w http.ResponseWriter, id string, do func() outcome) bool {
	s.mu.Lock()
	f := s.faults
	if u, ok := s.users[id]; ok && s.dice.Hit(f.ConflictStorm) {
		s.stats.Storms++
		u.stormUntil = time.Now().Add(f.StormFor)
	}
	failed, late := s.dice.Hit(f.AppliedButFailed), s.dice.Hit(f.AppliedLate)
	lateBy := s.dice.UpTo(f.ApplyLateBy)
	cut := s.dice.Hit(0.3)
	switch {
	case failed:
		s.stats.AppliedButFailed++
	case late:
		s.stats.AppliedLate++
	}
	s.mu.Unlock()
	switch {
	case failed:
		do()
	case late:
		s.agenda.After(lateBy, func() { do() })
	default:
		return false
	}
	if cut {
		abort(w)
		return true
	}
	status := http.StatusInternalServerError
	if late {
		status = http.StatusGatewayTimeout
	}
	fail(w, status, "internal", "something went wrong")
	return true
}

// slowAfter delays an answer whose deed is done.
func (s *Sim) slowAfter() {
	s.mu.Lock()
	slow := time.Duration(0)
	if s.dice.Hit(s.faults.Slow / 2) {
		s.stats.Slowed++
		slow = s.dice.UpTo(s.faults.SlowBy)
	}
	s.mu.Unlock()
	s.wait(slow)
}

// wait does not end when the client gives up: a PBX finishes what it began.
func (s *Sim) wait(d time.Duration) { simkit.Wait(context.Background(), s.stop, d) }

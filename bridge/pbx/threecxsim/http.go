package threecxsim

import (
	"net/http"
	"strings"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

func (s *Sim) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /connect/token", s.unpleasant(s.tokenRequest))
	mux.HandleFunc("GET /xapi/v1/SystemStatus", s.unpleasant(s.guard(s.systemStatus)))
	mux.HandleFunc("GET /xapi/v1/Microsoft365Integration", s.unpleasant(s.guard(s.integration)))
	mux.HandleFunc("/xapi/v1/", s.unpleasant(s.guard(s.xapi)))
	mux.HandleFunc("GET /callcontrol", s.unpleasant(s.guard(s.callControl)))
	mux.HandleFunc("GET /callcontrol/ws", s.unpleasant(s.webSocket))
	mux.HandleFunc("GET /callcontrol/{dn}", s.unpleasant(s.guard(s.callControlOf)))
	mux.HandleFunc("GET /callcontrol/{dn}/participants", s.unpleasant(s.guard(s.participants)))
	mux.HandleFunc("GET /callcontrol/{dn}/participants/{id}", s.unpleasant(s.guard(s.participant)))
	s.control(mux)
	return mux
}

// guard lets only who is admitted in, with the mutex held.
func (s *Sim) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.admitted(w, r) {
			next(w, r)
		}
	}
}

// unpleasant lets the faults strike that every request can meet.
func (s *Sim) unpleasant(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.stats.Requests++
		f := s.faults
		fail, throttle, cut, slow, after := s.dice.Hit(f.Errors), s.dice.Hit(f.Throttled), s.dice.Hit(f.Cut), s.dice.Hit(f.Slow), s.dice.Hit(0.5)
		wait, date := s.dice.UpTo(f.SlowBy), s.dice.Hit(0.5)
		if f.Slow >= 1 {
			wait, after = f.SlowBy, false
		}
		if s.dice.Hit(f.TokenLost) {
			s.forgetToken()
		}
		s.mu.Unlock()
		if slow && !after && !simkit.Wait(r.Context(), s.stop, wait) || r.Context().Err() != nil {
			return
		}
		switch {
		case fail:
			refuse(w, http.StatusInternalServerError, "unpleasant")
			return
		case throttle:
			w.Header().Set("Retry-After", simkit.RetryAfter(max(f.RetryAfter, time.Second), date))
			refuse(w, http.StatusTooManyRequests, "slow down")
			return
		case cut:
			abort()
		}
		next(w, r)
		if slow && after {
			simkit.Wait(r.Context(), s.stop, wait)
		}
	}
}

// abort breaks the connection of the request that is being answered (net/http's own way).
func abort() { panic(http.ErrAbortHandler) } //nolint:forbidigo // that is how net/http is told to

func (s *Sim) systemStatus(w http.ResponseWriter, _ *http.Request) {
	calls := 0
	for _, p := range s.users {
		calls += len(p.legs)
	}
	answer(w, http.StatusOK, map[string]any{
		"FQDN": "pbx.example.com", "Version": s.cfg.Version, "ProductCode": "3CXENT", "LicenseActive": true, "CallsActive": calls, "UserExtensions": len(s.users),
	})
}

func (s *Sim) integration(w http.ResponseWriter, _ *http.Request) {
	sync := map[string]any{"IsEnabled": s.limits.TeamsSync, "SetTeamsPresence": s.limits.TeamsSync, "SyncType": "SyncAllUsers", "StatusSyncConfiguration": nil}
	if s.limits.TeamsSync {
		sync["StatusSyncConfiguration"] = map[string]any{
			"M365ToPbxBindings": []map[string]string{{"From": "Busy", "To": "Away"}},
			"PBXToM365Bindings": []map[string]string{{"From": "Away", "To": "Away"}}, "PBXToM365Busy": true,
		}
	}
	answer(w, http.StatusOK, map[string]any{"TenantId": "", "ApplicationId": "", "AdUsers": sync})
}

// odataKey takes apart Name(key)rest.
func odataKey(path, name string) (key, rest string, ok bool) {
	path, ok = strings.CutPrefix(path, name+"(")
	if !ok {
		return "", "", false
	}
	return strings.Cut(path, ")")
}

package threecxsim

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// control adds the API by which people are moved from outside (see the package comment).
func (s *Sim) control(mux *http.ServeMux) {
	mux.HandleFunc("GET /sim/users", func(w http.ResponseWriter, _ *http.Request) {
		out := []map[string]any{}
		for _, u := range s.Users() {
			out = append(out, s.describe(u))
		}
		answer(w, http.StatusOK, map[string]any{"users": out})
	})
	mux.HandleFunc("GET /sim/users/{user}", func(w http.ResponseWriter, r *http.Request) { s.told(w, r.PathValue("user"), nil) })
	for name, do := range map[string]func(string) error{
		"ring": s.Ring, "stop-ringing": s.StopRinging, "dial": s.Dial, "call": s.StartCall, "hold": s.Hold, "resume": s.Resume,
		"end": s.EndCall, "offline": s.GoOffline, "online": s.GoOnline,
	} {
		mux.HandleFunc("POST /sim/users/{user}/"+name, func(w http.ResponseWriter, r *http.Request) {
			s.told(w, r.PathValue("user"), do(r.PathValue("user")))
		})
	}
	mux.HandleFunc("POST /sim/users/{user}/pick", s.pickHandler)
	mux.HandleFunc("PUT /sim/faults", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Preset string `json:"preset"`
		}
		if !read(w, r, &body) {
			return
		}
		f, err := FaultPreset(body.Preset)
		if err == nil {
			err = s.SetFaults(f)
		}
		done(w, err)
	})
	mux.HandleFunc("PUT /sim/limits", func(w http.ResponseWriter, r *http.Request) {
		var l Limits
		if read(w, r, &l) {
			s.SetLimits(l)
			done(w, nil)
		}
	})
	mux.HandleFunc("GET /sim/stats", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Stats()) })
	mux.HandleFunc("POST /sim/restart", s.restartHandler)
	mux.HandleFunc("POST /sim/cut", func(w http.ResponseWriter, _ *http.Request) { s.CutSockets(); done(w, nil) })
	mux.HandleFunc("POST /sim/stall", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			On bool `json:"on"`
		}
		if read(w, r, &body) {
			s.StallSockets(body.On)
			done(w, nil)
		}
	})
}

func (s *Sim) pickHandler(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Status  string  `json:"status"`
		Message *string `json:"message"`
	}
	if !read(w, r, &body) {
		return
	}
	user := r.PathValue("user")
	if body.Message != nil {
		s.told(w, user, s.PickMessage(user, body.Status, *body.Message))
		return
	}
	s.told(w, user, s.Pick(user, body.Status))
}

// restartHandler answers before the PBX goes down.
func (s *Sim) restartHandler(w http.ResponseWriter, r *http.Request) {
	var body struct {
		LoseState bool   `json:"lose_state"`
		Down      string `json:"down"`
	}
	if !read(w, r, &body) {
		return
	}
	down, err := time.ParseDuration(body.Down)
	if body.Down == "" {
		down, err = 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && s.closed {
		err = errClosed
	}
	done(w, err)
	if err == nil {
		s.workers.Go(func() {
			_ = s.Restart(context.WithoutCancel(r.Context()), RestartOptions{LoseState: body.LoseState, Down: down})
		}) // fails when closed only
	}
}

func (s *Sim) describe(u User) map[string]any {
	id := strconv.Itoa(u.ID)
	p, _ := s.Presence(id)
	chosen, _ := s.Chosen(id)
	return map[string]any{"id": u.ID, "number": u.Number, "email": u.Email, "display_name": u.DisplayName, "presence": p, "chosen": chosen}
}

func (s *Sim) told(w http.ResponseWriter, user string, err error) {
	if err != nil {
		done(w, err)
		return
	}
	s.mu.Lock()
	p, err := s.find(user)
	s.mu.Unlock()
	if err != nil {
		done(w, err)
		return
	}
	answer(w, http.StatusOK, s.describe(p.User))
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		done(w, err)
		return false
	}
	return true
}

func done(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		answer(w, http.StatusOK, map[string]string{})
	case errors.Is(err, ErrNoUser):
		answer(w, http.StatusNotFound, map[string]string{"error": err.Error()})
	case errors.Is(err, ErrNoCall), errors.Is(err, ErrOffline), errors.Is(err, errClosed):
		answer(w, http.StatusConflict, map[string]string{"error": err.Error()})
	default:
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
	}
}

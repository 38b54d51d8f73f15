package sipsim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// maxBody bounds what is sent to the control API.
const maxBody = 64 << 10

// serveControl serves the API by which people are moved from outside (see the package comment).
func (s *Sim) serveControl() error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.cfg.Control)
	if err != nil {
		return fmt.Errorf("sipsim: control: %w", err)
	}
	s.ctlAddr = "http://" + l.Addr().String()
	s.control = &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	s.work.Go(func() { _ = s.control.Serve(l) }) // until Close
	return nil
}

func (s *Sim) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sim/users", func(w http.ResponseWriter, _ *http.Request) {
		out := []map[string]any{}
		for _, u := range s.Users() {
			out = append(out, s.describe(u))
		}
		answer(w, http.StatusOK, map[string]any{"users": out})
	})
	mux.HandleFunc("GET /sim/users/{user}", func(w http.ResponseWriter, r *http.Request) { s.tellUser(w, r.PathValue("user"), nil) })
	for name, do := range map[string]func(string) error{
		"ring": s.Ring, "stop-ringing": s.StopRinging, "call": s.StartCall, "hold": s.Hold, "resume": s.Resume, "end": s.EndCall,
		"offline": s.GoOffline, "online": s.GoOnline,
	} {
		mux.HandleFunc("POST /sim/users/{user}/"+name, func(w http.ResponseWriter, r *http.Request) {
			s.tellUser(w, r.PathValue("user"), do(r.PathValue("user")))
		})
	}
	mux.HandleFunc("POST /sim/users/{user}/pick", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Status, Message string }
		if read(w, r, &body) {
			s.tellUser(w, r.PathValue("user"), s.PickMessage(r.PathValue("user"), body.Status, body.Message))
		}
	})
	mux.HandleFunc("PUT /sim/faults", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Preset string }
		if !read(w, r, &body) {
			return
		}
		f, err := FaultPreset(body.Preset)
		if err == nil {
			err = s.SetFaults(f)
		}
		done(w, err)
	})
	mux.HandleFunc("GET /sim/stats", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.Stats()) })
	mux.HandleFunc("POST /sim/restart", s.restartHandler)
	mux.HandleFunc("POST /sim/cut", func(w http.ResponseWriter, _ *http.Request) { s.CutConnections(); done(w, nil) })
	return mux
}

func (s *Sim) restartHandler(w http.ResponseWriter, r *http.Request) {
	var body struct {
		LoseState bool `json:"lose_state"`
		Down      string
	}
	if !read(w, r, &body) {
		return
	}
	down, err := time.ParseDuration(body.Down)
	if body.Down == "" {
		down, err = 0, nil
	}
	if err == nil {
		err = s.Restart(context.WithoutCancel(r.Context()), RestartOptions{LoseState: body.LoseState, Down: down})
	}
	done(w, err)
}

func (s *Sim) describe(u User) map[string]any {
	p, _ := s.Presence(u.User)
	chosen, _ := s.Chosen(u.User)
	return map[string]any{"user": u.User, "email": u.Email, "display_name": u.DisplayName, "presence": p, "chosen": chosen}
}

func (s *Sim) tellUser(w http.ResponseWriter, user string, err error) {
	s.mu.Lock()
	p := s.people[user]
	s.mu.Unlock()
	if err == nil && p == nil {
		err = ErrNoUser
	}
	if err != nil {
		done(w, err)
		return
	}
	answer(w, http.StatusOK, s.describe(p.User))
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "a JSON object is wanted"})
		return false
	}
	return true
}

// done answers what has no more to say than whether it was done.
func done(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
		answer(w, http.StatusOK, map[string]any{"ok": true})
	case errors.Is(err, ErrNoUser):
		answer(w, http.StatusNotFound, map[string]any{"error": err.Error()})
	default:
		answer(w, http.StatusConflict, map[string]any{"error": err.Error()})
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // who left does not hear it
}

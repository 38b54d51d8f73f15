package threecxsim

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"presencebridge/bridge/pbx/simkit"
)

// control adds the API by which people are moved from outside (see the package comment).
func (s *Sim) control(mux *http.ServeMux) {
	c := simkit.Control{
		Users: func() any {
			out := []map[string]any{}
			for _, u := range s.Users() {
				out = append(out, s.describe(u))
			}
			return out
		},
		Describe: func(user string) (any, error) {
			s.mu.Lock()
			p, err := s.find(user)
			s.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return s.describe(p.User), nil
		},
		Verbs: map[string]func(string) error{
			"ring": s.Ring, "stop-ringing": s.StopRinging, "dial": s.Dial, "call": s.StartCall, "hold": s.Hold, "resume": s.Resume,
			"end": s.EndCall, "offline": s.GoOffline, "online": s.GoOnline,
		},
		Pick: func(user, status string, message *string) error {
			if message != nil {
				return s.PickMessage(user, status, *message)
			}
			return s.Pick(user, status)
		},
		Preset: func(name string) error {
			f, err := FaultPreset(name)
			if err != nil {
				return err
			}
			return s.SetFaults(f)
		},
		Stats: func() any { return s.Stats() }, Cut: s.CutSockets, Restart: s.orderRestart, Status: statusOf, Done: map[string]string{},
	}
	c.Register(mux)
	mux.HandleFunc("PUT /sim/limits", func(w http.ResponseWriter, r *http.Request) {
		var l Limits
		if c.Read(w, r, &l) {
			s.SetLimits(l)
			c.Finish(w, nil)
		}
	})
	mux.HandleFunc("POST /sim/stall", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ On bool }
		if c.Read(w, r, &body) {
			s.StallSockets(body.On)
			c.Finish(w, nil)
		}
	})
}

// orderRestart answers before the PBX goes down.
func (s *Sim) orderRestart(ctx context.Context, how simkit.Restart) (then func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, simkit.ErrClosed
	}
	answered := make(chan struct{})
	s.workers.Go(func() {
		select {
		case <-answered:
		case <-s.stop:
			return
		}
		_ = s.Restart(ctx, RestartOptions(how)) // fails when closed, and when the address is somebody else's
	})
	return func() { close(answered) }, nil
}

func (s *Sim) describe(u User) map[string]any {
	id := strconv.Itoa(u.ID)
	p, _ := s.Presence(id)
	chosen, _ := s.Chosen(id)
	return map[string]any{"id": u.ID, "number": u.Number, "email": u.Email, "display_name": u.DisplayName, "presence": p, "chosen": chosen}
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrNoUser):
		return http.StatusNotFound
	case errors.Is(err, ErrNoCall), errors.Is(err, ErrOffline), errors.Is(err, simkit.ErrClosed):
		return http.StatusConflict
	default:
		return http.StatusBadRequest
	}
}

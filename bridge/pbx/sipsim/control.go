package sipsim

import (
	"context"
	"errors"
	"net/http"

	"presencebridge/bridge/pbx/simkit"
)

// serveControl serves the API by which people are moved from outside (see the package comment).
func (s *Sim) serveControl() error {
	mux := http.NewServeMux()
	s.control().Register(mux)
	var err error
	s.http, err = simkit.NewServer(simkit.ServerConfig{Sim: "sipsim: control", Addr: s.cfg.Control, Handler: mux, Stop: s.stop, Log: s.cfg.Log})
	if err != nil {
		return err
	}
	return s.http.Up()
}

func (s *Sim) control() simkit.Control {
	return simkit.Control{
		Users: func() any {
			out := []map[string]any{}
			for _, u := range s.Users() {
				out = append(out, s.describe(u))
			}
			return out
		},
		Describe: func(user string) (any, error) {
			s.mu.Lock()
			p := s.people[user]
			s.mu.Unlock()
			if p == nil {
				return nil, ErrNoUser
			}
			return s.describe(p.User), nil
		},
		Verbs: map[string]func(string) error{
			"ring": s.Ring, "stop-ringing": s.StopRinging, "call": s.StartCall, "hold": s.Hold, "resume": s.Resume, "end": s.EndCall,
			"offline": s.GoOffline, "online": s.GoOnline,
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
		Stats: func() any { return s.Stats() }, Cut: s.CutConnections,
		Restart: func(ctx context.Context, how simkit.Restart) (then func(), err error) {
			return nil, s.Restart(ctx, RestartOptions(how))
		},
		Status: func(err error) int {
			if errors.Is(err, ErrNoUser) {
				return http.StatusNotFound
			}
			return http.StatusConflict
		},
		Done: map[string]any{"ok": true},
	}
}

func (s *Sim) describe(u User) map[string]any {
	p, _ := s.Presence(u.User)
	chosen, _ := s.Chosen(u.User)
	return map[string]any{"user": u.User, "email": u.Email, "display_name": u.DisplayName, "presence": p, "chosen": chosen}
}

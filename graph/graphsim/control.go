package graphsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// controlRoutes is the control API; the package comment describes it.
func (s *Sim) controlRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /sim/{$}", control(func(*http.Request) (any, error) { return s.overview(), nil }))
	mux.HandleFunc("GET /sim/ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.caPEM)
	})
	mux.HandleFunc("GET /sim/stats", control(func(*http.Request) (any, error) { return s.Stats(), nil }))
	mux.HandleFunc("GET /sim/people", control(s.listPeople))
	mux.HandleFunc("POST /sim/people", control(s.joinPerson))
	mux.HandleFunc("GET /sim/people/{user}", control(s.showPerson))
	mux.HandleFunc("POST /sim/people/{user}", control(s.movePerson))
	mux.HandleFunc("DELETE /sim/people/{user}", control(func(r *http.Request) (any, error) { return struct{}{}, s.RemoveUser(r.PathValue("user")) }))
	mux.HandleFunc("GET /sim/driver", control(func(*http.Request) (any, error) { return s.drivers.state(), nil }))
	mux.HandleFunc("PUT /sim/driver", control(s.setDriver))
	mux.HandleFunc("GET /sim/faults", control(func(*http.Request) (any, error) { return s.Faults(), nil }))
	mux.HandleFunc("PUT /sim/faults", control(s.putFaults))
	mux.HandleFunc("GET /sim/devicecodes", control(func(*http.Request) (any, error) { return s.DeviceCodes(), nil }))
	mux.HandleFunc("POST /sim/devicecodes/{code}", control(s.decideDevice))
	mux.HandleFunc("GET /sim/subscriptions", control(func(*http.Request) (any, error) { return s.Subscriptions(), nil }))
	mux.HandleFunc("POST /sim/subscriptions/{id}", control(s.pokeSubscription))
	mux.HandleFunc("PUT /sim/tokens/{who}", control(s.putTokens))
	mux.HandleFunc("POST /sim/keys", control(s.rotateKeys))
}

// inputError is a request that cannot be understood, as opposed to something that does not exist.
type inputError struct{ error }

// control is one door for all of it: the answer, or an error with 400 or 404.
func control(serve func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := serve(r)
		var bad inputError
		switch {
		case errors.As(err, &bad):
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		case err != nil:
			writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
		default:
			writeJSON(w, http.StatusOK, out)
		}
	}
}

// input reads a JSON body; unknown keys are errors.
func input(r *http.Request, into any) error {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return inputError{fmt.Errorf("read the body: %w", err)}
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = []byte("{}")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return inputError{fmt.Errorf("body: %w", err)}
	}
	return nil
}

func (s *Sim) overview() any {
	return map[string]any{"tenant_id": s.TenantID, "client_id": s.ClientID, "client_secret": s.ClientSecret, "login": s.LoginURL(),
		"graph": s.GraphURL(), "ca_pem": string(s.caPEM), "monitors": s.cfg.Monitors, "people": len(s.Users()),
		"driver": s.drivers.state(), "faults": s.Faults()}
}

// listPeople lists states; ?match= narrows it to names and UPNs that contain the text, in any case.
func (s *Sim) listPeople(r *http.Request) (any, error) {
	match := strings.ToLower(r.URL.Query().Get("match"))
	return slices.DeleteFunc(s.States(), func(x State) bool {
		return match != "" && !strings.Contains(strings.ToLower(x.UPN+" "+x.DisplayName+" "+x.ID), match)
	}), nil
}

func (s *Sim) showPerson(r *http.Request) (any, error) {
	state, ok := s.State(r.PathValue("user"))
	if !ok {
		return nil, unknownUser(r.PathValue("user"))
	}
	return state, nil
}

func (s *Sim) joinPerson(r *http.Request) (any, error) {
	var p Person
	if err := input(r, &p); err != nil {
		return nil, err
	}
	id, err := s.AddUser(p)
	if err != nil {
		return nil, inputError{err}
	}
	state, _ := s.State(id)
	return state, nil
}

// move is what a person is told to do.
type move struct {
	Do     string `json:"do"`
	Pair   string `json:"pair"`   // for client and pick, as "Busy/InACall"
	Client string `json:"client"` // for client and close: which of several clients
	For    string `json:"for"`    // for pick: how long, as "1h"
	Text   string `json:"text"`   // for out-of-office: the message
}

func (s *Sim) movePerson(r *http.Request) (any, error) {
	var m move
	if err := input(r, &m); err != nil {
		return nil, err
	}
	user := r.PathValue("user")
	if _, ok := s.State(user); !ok {
		return nil, unknownUser(user)
	}
	do, ok := s.moves(user, m)[m.Do]
	if !ok {
		return nil, inputError{fmt.Errorf("do: %q is nothing a person does: give one of %s", m.Do, strings.Join(moveNames, ", "))}
	}
	if err := do(); err != nil {
		return nil, inputError{err}
	}
	state, _ := s.State(user)
	return state, nil
}

var moveNames = []string{"sign-in", "sign-out", "available", "away", "call", "conference", "call-end", "meeting", "meeting-end",
	"presenting", "presenting-end", "client", "close", "pick", "pick-reset", "appear-offline", "out-of-office", "in-office"}

func (s *Sim) moves(user string, m move) map[string]func() error {
	name := m.Client
	if name == "" {
		name = DefaultClient
	}
	simple := func(f func(string) error) func() error { return func() error { return f(user) } }
	return map[string]func() error{
		"sign-in": simple(s.SignIn), "sign-out": simple(s.SignOut), "available": simple(s.ComeBack), "away": simple(s.GoAway),
		"call": simple(s.StartCall), "conference": simple(s.StartConferenceCall), "call-end": simple(s.EndCall),
		"meeting": simple(s.StartMeeting), "meeting-end": simple(s.EndMeeting),
		"presenting": simple(s.StartPresenting), "presenting-end": simple(s.StopPresenting),
		"pick-reset": simple(s.ClearPreferred), "appear-offline": simple(s.AppearOffline),
		"client": func() error {
			if m.Pair == "" {
				return errors.New("pair: missing: give one as Busy/InACall")
			}
			return s.SetSession(user, name, ParsePair(m.Pair))
		},
		"close": func() error { return s.CloseSession(user, name) },
		"pick": func() error {
			var life time.Duration
			if m.For != "" {
				var err error
				if life, err = time.ParseDuration(m.For); err != nil {
					return fmt.Errorf("for: %w: give a time as 1h", err)
				}
			}
			return s.SetPreferred(user, ParsePair(m.Pair), life)
		},
		"out-of-office": func() error { return s.SetOutOfOffice(user, true, m.Text) },
		"in-office":     func() error { return s.SetOutOfOffice(user, false, "") },
	}
}

// putFaults takes a preset, single faults, or both: the faults change the preset, or without one
// what there is.
func (s *Sim) putFaults(r *http.Request) (any, error) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
	if err != nil {
		return nil, inputError{fmt.Errorf("read the body: %w", err)}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, inputError{fmt.Errorf("body: %w", err)}
	}
	f := s.Faults()
	if name, ok := fields["preset"]; ok {
		preset, known := Preset(strings.Trim(string(name), `"`))
		if !known {
			return nil, inputError{fmt.Errorf("preset: %s is none: give none, some or cruel", name)}
		}
		f = preset
		delete(fields, "preset")
	}
	rest, err := json.Marshal(fields)
	if err == nil {
		err = json.Unmarshal(rest, &f)
	}
	if err != nil {
		return nil, inputError{err}
	}
	s.SetFaults(f)
	return f, nil
}

func (s *Sim) decideDevice(r *http.Request) (any, error) {
	var in struct {
		Approve string `json:"approve"` // the UPN that signs in
		Decline bool   `json:"decline"`
		Expire  bool   `json:"expire"`
	}
	if err := input(r, &in); err != nil {
		return nil, err
	}
	code := r.PathValue("code")
	switch {
	case in.Approve != "":
		return struct{}{}, s.Approve(code, in.Approve)
	case in.Decline:
		return struct{}{}, s.Decline(code)
	case in.Expire:
		return struct{}{}, s.Expire(code)
	default:
		return nil, inputError{errors.New("body: give approve with a UPN, decline or expire")}
	}
}

func (s *Sim) pokeSubscription(r *http.Request) (any, error) {
	var in struct {
		Do string `json:"do"`
		By string `json:"by"` // of slow: how much later, as 50s
	}
	if err := input(r, &in); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	switch in.Do {
	case "kill", "revive":
		return struct{}{}, s.KillSubscription(id, in.Do == "revive")
	case "challenge":
		return struct{}{}, s.Challenge(id)
	case "slow":
		by, err := time.ParseDuration(in.By)
		if err != nil || by < 0 {
			return nil, inputError{fmt.Errorf("by: %q: give how much later, such as 50s, or 0s", in.By)}
		}
		return struct{}{}, s.SlowSubscription(id, by)
	default:
		return nil, inputError{fmt.Errorf("do: %q: give kill, revive, slow or challenge", in.Do)}
	}
}

func (s *Sim) putTokens(r *http.Request) (any, error) {
	var in struct {
		Code   int  `json:"code"`   // the AADSTS number of all refusals from now on; 0 ends them
		Revoke bool `json:"revoke"` // ends the user's refresh tokens instead
	}
	if err := input(r, &in); err != nil {
		return nil, err
	}
	if in.Revoke {
		s.RevokeSessions(r.PathValue("who"))
	} else {
		s.FailTokens(r.PathValue("who"), in.Code)
	}
	return struct{}{}, nil
}

func (s *Sim) rotateKeys(r *http.Request) (any, error) {
	var in struct {
		Retire bool `json:"retire"` // stop publishing the old keys
	}
	if err := input(r, &in); err != nil {
		return nil, err
	}
	return struct{}{}, s.RotateSigningKey(in.Retire)
}

// driverState is what the simulated people are at.
type driverState struct {
	Running bool    `json:"running"`
	Paused  bool    `json:"paused"`
	Rate    float64 `json:"rate"` // changes per minute, as a fraction of the people
	Actions int64   `json:"actions"`
}

func (d *drivers) state() driverState {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out driverState
	for _, p := range d.all {
		p.mu.Lock()
		out.Running, out.Paused, out.Rate = true, p.paused, p.rate
		out.Actions += p.actions
		p.mu.Unlock()
	}
	return out
}

// setDriver paces the simulated people, and sets them going if they were not.
func (s *Sim) setDriver(r *http.Request) (any, error) {
	var in struct {
		Rate   *float64 `json:"rate"`
		Paused *bool    `json:"paused"`
	}
	if err := input(r, &in); err != nil {
		return nil, err
	}
	if in.Rate != nil && (*in.Rate < 0 || *in.Rate > 1000) {
		return nil, inputError{fmt.Errorf("rate: %v: give actions per minute as a fraction of the people, 0 to 1000", *in.Rate)}
	}
	if in.Rate != nil && !s.drivers.state().Running {
		s.Live(PeopleConfig{Seed: s.cfg.Seed, Rate: *in.Rate, Start: true})
	}
	s.drivers.each(func(p *People) {
		if in.Rate != nil {
			p.SetRate(*in.Rate)
		}
		if in.Paused != nil && *in.Paused {
			p.Pause()
		} else if in.Paused != nil {
			p.Resume()
		}
	})
	return s.drivers.state(), nil
}

func (d *drivers) each(f func(p *People)) {
	d.mu.Lock()
	all := slices.Clone(d.all)
	d.mu.Unlock()
	for _, p := range all {
		f(p)
	}
}

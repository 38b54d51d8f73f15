package pbxsim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

// controlUser is a person as the control API shows them: what the PBX shows, and what it knows.
type controlUser struct {
	User
	Presence   Presence `json:"presence"`
	Chosen     string   `json:"chosen"`
	LastWriter string   `json:"last_writer"`
	Calls      int      `json:"calls"`
}

// controlFaults are Faults with durations that can be read.
type controlFaults struct {
	Preset string `json:"preset,omitempty"`
	*Faults
	LateBy      *duration `json:"late_by"`
	RetryAfter  *duration `json:"retry_after"`
	SlowBy      *duration `json:"slow_by"`
	ApplyLateBy *duration `json:"apply_late_by"`
	StormFor    *duration `json:"storm_for"`
	ReadLagBy   *duration `json:"read_lag_by"`
}

func showFaults(f *Faults) *controlFaults {
	d := func(p *time.Duration) *duration { return (*duration)(p) }
	return &controlFaults{
		Faults: f, LateBy: d(&f.LateBy), RetryAfter: d(&f.RetryAfter), SlowBy: d(&f.SlowBy),
		ApplyLateBy: d(&f.ApplyLateBy), StormFor: d(&f.StormFor), ReadLagBy: d(&f.ReadLagBy),
	}
}

// controlPeople are the simulated people.
type controlPeople struct {
	State    PeopleState `json:"state"`
	Rate     float64     `json:"rate"`
	MeanCall duration    `json:"mean_call"`
	Seed     uint64      `json:"seed"`
	Begun    int         `json:"begun"`
}

// serveControl is everything under /sim (see the package comment).
func (s *Sim) serveControl(w http.ResponseWriter, r *http.Request) {
	path := strings.Trim(strings.TrimPrefix(r.URL.EscapedPath(), "/sim"), "/")
	var err error
	switch {
	case path == "users":
		err = s.controlUsers(w, r)
	case strings.HasPrefix(path, "users/"):
		err = s.controlUser(w, r, strings.TrimPrefix(path, "users/"))
	case path == "statuses":
		if allow(w, r, http.MethodGet) {
			reply(w, http.StatusOK, wireStatuses{s.Statuses()})
		}
	case path == "faults":
		err = s.controlFaults(w, r)
	case path == "people":
		err = s.controlPeople(w, r)
	case path == "stats":
		if allow(w, r, http.MethodGet) {
			reply(w, http.StatusOK, s.Stats())
		}
	case path == "restart", path == "cut", path == "stall":
		err = s.controlPlant(w, r, path)
	default:
		fail(w, http.StatusNotFound, "no_such_address", "see the package comment of pbxsim for what there is")
	}
	if err != nil {
		controlFail(w, err)
	}
}

func controlFail(w http.ResponseWriter, err error) {
	status, code := http.StatusBadRequest, "bad_request"
	switch {
	case errors.Is(err, ErrNoUser):
		status, code = http.StatusNotFound, "no_such_user"
	case errors.Is(err, ErrNoCall), errors.Is(err, ErrOffline):
		status, code = http.StatusConflict, "not_now"
	case errors.Is(err, ErrNoStatus):
		status, code = http.StatusUnprocessableEntity, "unknown_status"
	}
	fail(w, status, code, err.Error())
}

// readControl reads a JSON body strictly, since people type it; an empty one is an empty object.
func readControl(r *http.Request, into any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return err
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func (s *Sim) show(u *person) controlUser {
	return controlUser{u.User, u.presence(), u.chosen, u.changedBy, u.calls}
}

func (s *Sim) controlUsers(w http.ResponseWriter, r *http.Request) error {
	if !allow(w, r, http.MethodGet, http.MethodPost) {
		return nil
	}
	if r.Method == http.MethodPost {
		var u User
		if err := readControl(r, &u); err != nil {
			return err
		}
		if err := s.AddUser(u); err != nil {
			return err
		}
		return s.replyUser(w, u.ID)
	}
	q := strings.ToLower(r.URL.Query().Get("q"))
	s.mu.Lock()
	users := make([]controlUser, 0, len(s.order))
	for _, id := range s.order {
		u := s.users[id]
		if strings.Contains(strings.ToLower(u.ID+"\n"+u.Email+"\n"+u.Extension+"\n"+u.DisplayName), q) {
			users = append(users, s.show(u))
		}
	}
	s.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{"users": users})
	return nil
}

func (s *Sim) replyUser(w http.ResponseWriter, key string) error {
	s.mu.Lock()
	u, err := s.find(key)
	var shown controlUser
	if err == nil {
		shown = s.show(u)
	}
	s.mu.Unlock()
	if err == nil {
		reply(w, http.StatusOK, shown)
	}
	return err
}

// moves are what can be done to a person by hand.
func (s *Sim) moves() map[string]func(user string) error {
	return map[string]func(string) error{
		"ring": s.Ring, "stop-ringing": s.StopRinging, "call": s.StartCall, "hold": s.Hold,
		"resume": s.Resume, "end": s.EndCall, "offline": s.GoOffline, "online": s.GoOnline,
	}
}

func (s *Sim) controlUser(w http.ResponseWriter, r *http.Request, path string) error {
	escaped, verb, _ := strings.Cut(path, "/")
	key, err := url.PathUnescape(escaped)
	if err != nil {
		return err
	}
	move, isMove := s.moves()[verb]
	switch {
	case verb == "" && r.Method == http.MethodDelete:
		if err := s.RemoveUser(key); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	case verb == "":
		if !allow(w, r, http.MethodGet, http.MethodDelete) {
			return nil
		}
	case !isMove && verb != "pick":
		fail(w, http.StatusNotFound, "no_such_address", "see the package comment of pbxsim for what there is")
		return nil
	case !allow(w, r, http.MethodPost):
		return nil
	case isMove:
		err = move(key)
	default:
		err = s.controlPick(r, key)
	}
	if err != nil {
		return err
	}
	return s.replyUser(w, key)
}

func (s *Sim) controlPick(r *http.Request, key string) error {
	var put wirePut
	if err := readControl(r, &put); err != nil {
		return err
	}
	if put.Status == nil {
		return errors.New("status is missing")
	}
	return s.pick(key, *put.Status, put.Message, byUser)
}

func (s *Sim) controlFaults(w http.ResponseWriter, r *http.Request) error {
	if !allow(w, r, http.MethodGet, http.MethodPut) {
		return nil
	}
	f := s.Faults()
	if r.Method == http.MethodPut {
		var preset struct {
			Preset *string `json:"preset"`
		}
		b, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &preset); err != nil {
			return err
		}
		if preset.Preset != nil {
			if f, err = FaultPreset(*preset.Preset); err != nil {
				return err
			}
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		if err := readControl(r, showFaults(&f)); err != nil {
			return err
		}
		if err := s.SetFaults(f); err != nil {
			return err
		}
	}
	reply(w, http.StatusOK, showFaults(&f))
	return nil
}

func (s *Sim) controlPeople(w http.ResponseWriter, r *http.Request) error {
	if !allow(w, r, http.MethodGet, http.MethodPut) {
		return nil
	}
	if r.Method == http.MethodPut {
		var body struct {
			State    PeopleState `json:"state"`
			Rate     float64     `json:"rate"`
			MeanCall duration    `json:"mean_call"`
			Seed     uint64      `json:"seed"`
		}
		if err := readControl(r, &body); err != nil {
			return err
		}
		cfg := PeopleConfig{Rate: body.Rate, MeanCall: time.Duration(body.MeanCall), Seed: body.Seed}
		if err := s.crowd.Order(body.State, cfg); err != nil {
			return err
		}
	}
	shown := controlPeople{State: PeopleStopped}
	if p := s.crowd.People(); p != nil {
		cfg := p.Config()
		shown = controlPeople{p.State(), cfg.Rate, duration(cfg.MeanCall), cfg.Seed, p.Begun()}
	}
	reply(w, http.StatusOK, shown)
	return nil
}

// controlPlant is what happens to the PBX as a whole.
func (s *Sim) controlPlant(w http.ResponseWriter, r *http.Request, what string) error {
	if !allow(w, r, http.MethodPost) {
		return nil
	}
	var body struct {
		LoseState bool     `json:"lose_state"`
		Down      duration `json:"down"`
		On        bool     `json:"on"`
	}
	if err := readControl(r, &body); err != nil {
		return err
	}
	switch what {
	case "cut":
		s.CutStreams()
	case "stall":
		s.StallStreams(body.On)
	default:
		if body.Down < 0 || time.Duration(body.Down) > time.Hour {
			return errors.New("down must be between 0s and 1h")
		}
		answered := make(chan struct{})
		defer close(answered)
		if err := s.restartAfter(answered, RestartOptions{LoseState: body.LoseState, Down: time.Duration(body.Down)}); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Length", "0") // so that what is flushed is the whole answer
	w.WriteHeader(http.StatusAccepted)
	_ = http.NewResponseController(w).Flush() // the client went away: nobody is left to be told
	return nil
}

// restartAfter restarts when the answer to whoever ordered it has left: its connection breaks too.
func (s *Sim) restartAfter(answered <-chan struct{}, opts RestartOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return simkit.ErrClosed
	}
	s.workers.Go(func() {
		select {
		case <-answered:
		case <-s.stop:
			return
		}
		if err := s.Restart(context.Background(), opts); err != nil && !errors.Is(err, simkit.ErrClosed) {
			s.cfg.Log.Error("simulated pbx did not restart", "error", err)
		}
	})
	return nil
}

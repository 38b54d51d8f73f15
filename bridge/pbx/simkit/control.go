package simkit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// maxBody bounds what is sent to the control interface, in bytes.
const maxBody = 64 << 10

// Restart is how a simulator is restarted from outside.
type Restart struct {
	LoseState bool
	Down      time.Duration
}

// Control is the HTTP interface by which a simulator's people are moved and its faults are set from outside. Everything
// must be given.
type Control struct {
	// Users are all, as Describe shows them.
	Users func() any
	// Describe shows one user.
	Describe func(user string) (any, error)
	// Verbs are what can be done to a user, by name.
	Verbs map[string]func(user string) error
	// Pick picks a status; a message that is not named is nil.
	Pick func(user, status string, message *string) error
	// Preset sets faults by a preset's name.
	Preset func(name string) error
	// Stats are the counters.
	Stats func() any
	// Cut breaks what watches the PBX.
	Cut func()
	// Restart restarts the PBX; ctx outlives the request. The answer follows its return, and what it returns is called when
	// the answer has left: for a PBX whose restart breaks the connection that the order came on. nil is nothing.
	Restart func(ctx context.Context, how Restart) (then func(), err error)
	// Status is the code for an error.
	Status func(err error) int
	// Done is the answer to what has no more to say than that it was done.
	Done any
}

// Register adds the interface's addresses, all below /sim.
func (c Control) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /sim/users", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"users": c.Users()})
	})
	mux.HandleFunc("GET /sim/users/{user}", func(w http.ResponseWriter, r *http.Request) { c.tell(w, r.PathValue("user"), nil) })
	for name, do := range c.Verbs {
		mux.HandleFunc("POST /sim/users/{user}/"+name, func(w http.ResponseWriter, r *http.Request) {
			c.tell(w, r.PathValue("user"), do(r.PathValue("user")))
		})
	}
	mux.HandleFunc("POST /sim/users/{user}/pick", c.pick)
	mux.HandleFunc("PUT /sim/faults", func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Preset string }
		if c.Read(w, r, &body) {
			c.Finish(w, c.Preset(body.Preset))
		}
	})
	mux.HandleFunc("GET /sim/stats", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, c.Stats()) })
	mux.HandleFunc("POST /sim/cut", func(w http.ResponseWriter, _ *http.Request) { c.Cut(); c.Finish(w, nil) })
	mux.HandleFunc("POST /sim/restart", c.restart)
}

func (c Control) pick(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Status  string
		Message *string
	}
	if c.Read(w, r, &body) {
		c.tell(w, r.PathValue("user"), c.Pick(r.PathValue("user"), body.Status, body.Message))
	}
}

func (c Control) restart(w http.ResponseWriter, r *http.Request) {
	var body struct {
		LoseState bool `json:"lose_state"`
		Down      string
	}
	if !c.Read(w, r, &body) {
		return
	}
	how := Restart{LoseState: body.LoseState}
	if body.Down != "" {
		var err error
		if how.Down, err = time.ParseDuration(body.Down); err != nil {
			c.Finish(w, err)
			return
		}
	}
	then, err := c.Restart(context.WithoutCancel(r.Context()), how)
	c.Finish(w, err)
	if then != nil {
		_ = http.NewResponseController(w).Flush() // who left does not hear it
		then()
	}
}

// tell answers with the user after something was done to them, or with what went wrong.
func (c Control) tell(w http.ResponseWriter, user string, err error) {
	var shown any
	if err == nil {
		shown, err = c.Describe(user)
	}
	if err != nil {
		c.Finish(w, err)
		return
	}
	answer(w, http.StatusOK, shown)
}

// Read reads a request's JSON, for addresses of the simulator's own. False: it could not, and has said so.
func (c Control) Read(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	if err != nil {
		answer(w, http.StatusBadRequest, failure(errors.New("a JSON object is wanted: "+err.Error())))
	}
	return err == nil
}

// Finish answers what has no more to say than whether it was done.
func (c Control) Finish(w http.ResponseWriter, err error) {
	if err != nil {
		answer(w, c.Status(err), failure(err))
		return
	}
	answer(w, http.StatusOK, c.Done)
}

func failure(err error) map[string]string { return map[string]string{"error": err.Error()} }

func answer(w http.ResponseWriter, code int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // strings, numbers and times only
		code, b = http.StatusInternalServerError, []byte(`{"error":"cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b))) // so that a flushed answer is a whole one
	w.WriteHeader(code)
	_, _ = w.Write(b) // who left does not hear it
}

package simkit

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var errNobody = errors.New("nobody of that name")

// board is a control interface and what came in by it.
type board struct {
	t      *testing.T
	server *Server
	then   func()

	mu  sync.Mutex
	did []string
}

func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{t: t}
	known := func(user string) error {
		if user != "ada" {
			return errNobody
		}
		return nil
	}
	note := func(what ...string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.did = append(b.did, strings.Join(what, " "))
	}
	mux := http.NewServeMux()
	Control{
		Users:    func() any { return []string{"ada"} },
		Describe: func(user string) (any, error) { return map[string]string{"name": user}, known(user) },
		Verbs:    map[string]func(string) error{"ring": func(user string) error { note("ring", user); return known(user) }},
		Pick: func(user, status string, message *string) error {
			if message == nil {
				note("pick", user, status)
				return nil
			}
			note("pick", user, status, *message)
			return nil
		},
		Preset: func(name string) error { note("preset", name); return nil },
		Stats:  func() any { return map[string]int{"calls": 7} }, Cut: func() { note("cut") },
		Restart: func(_ context.Context, how Restart) (func(), error) {
			note("restart", how.Down.String())
			return b.then, nil
		},
		Status: func(err error) int {
			if errors.Is(err, errNobody) {
				return http.StatusNotFound
			}
			return http.StatusConflict
		},
		Done: map[string]bool{"done": true},
	}.Register(mux)
	var err error
	b.server, err = NewServer(ServerConfig{Sim: "sim", Addr: "127.0.0.1:0", Handler: mux, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, b.server.Up())
	t.Cleanup(b.server.Down)
	return b
}

func (b *board) call(method, path, body string) (code int, out map[string]any) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL()+path, strings.NewReader(body))
	require.NoError(b.t, err)
	req.Close = true // a connection that a restart has broken is of no use for the next call
	res, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	defer func() { _ = res.Body.Close() }()
	require.NoError(b.t, json.NewDecoder(res.Body).Decode(&out))
	return res.StatusCode, out
}

func TestControl(t *testing.T) {
	b := newBoard(t)
	for _, c := range []struct {
		method, path, body string
		code               int
		has                string
	}{
		{"GET", "/sim/users", "", 200, "users"}, {"GET", "/sim/users/ada", "", 200, "name"}, {"GET", "/sim/users/bob", "", 404, "error"},
		{"POST", "/sim/users/ada/ring", "", 200, "name"}, {"POST", "/sim/users/bob/ring", "", 404, "error"},
		{"POST", "/sim/users/ada/pick", `{"status":"Busy"}`, 200, "name"}, {"POST", "/sim/users/ada/pick", `{"status":"Busy","message":"hm"}`, 200, "name"},
		{"POST", "/sim/users/ada/pick", `{`, 400, "error"}, {"PUT", "/sim/faults", `{"preset":"some"}`, 200, "done"}, {"GET", "/sim/stats", "", 200, "calls"},
		{"POST", "/sim/cut", "", 200, "done"}, {"POST", "/sim/restart", `{"down":"2s"}`, 200, "done"}, {"POST", "/sim/restart", `{}`, 200, "done"},
		{"POST", "/sim/restart", `{"down":"soon"}`, 409, "error"},
	} {
		code, out := b.call(c.method, c.path, c.body)
		require.Equal(t, c.code, code, c.path+c.body)
		require.Contains(t, out, c.has, c.path+c.body)
	}
	require.Equal(t, []string{"ring ada", "ring bob", "pick ada Busy", "pick ada Busy hm", "preset some", "cut", "restart 2s", "restart 0s"}, b.did)
}

// The answer to the order of a restart comes even though the restart breaks its connection.
func TestControlAnswersBeforeTheRestart(t *testing.T) {
	b := newBoard(t)
	restarted := make(chan error)
	b.then = func() { go func() { restarted <- b.server.Restart(func() {}) }() }
	for range 20 {
		code, _ := b.call("POST", "/sim/restart", `{}`)
		require.Equal(t, 200, code)
		require.NoError(t, <-restarted)
	}
}

package micollab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

// fake is a PBX in memory, so that time can be virtual. Its answers are as bad as a test wants.
type fake struct {
	mu      sync.Mutex
	answer  func(*http.Request) (status int, body string, header []string) // nil result: the ordinary answer
	opened  []string                                                       // Last-Event-ID of each stream, "" for none
	asked   []string                                                       // method and path of the rest
	bodies  []string
	streams chan *fakeStream
}

// fakeStream is the PBX's end of an event stream.
type fakeStream struct {
	*io.PipeWriter
	lastID string
}

func (s *fakeStream) say(format string, args ...any) { _, _ = fmt.Fprintf(s, format, args...) }

func (s *fakeStream) presence(id, user string, version int) {
	s.say("id: %s\nevent: presence\ndata: %s\n\n", id, eventJSON(user, version))
}

func eventJSON(user string, version int) string {
	return fmt.Sprintf(`{"user":%q,"presence":%s}`, user, presenceJSON(version))
}

func presenceJSON(version int) string {
	return fmt.Sprintf(`{"line":"idle","status":"Busy","message":"","version":%d,"changed_at":"2026-11-25T08:00:00Z","changed_by":"user"}`, version)
}

const statusesJSON = `{"statuses":[{"name":"Available","kind":"available"},{"name":"Busy","kind":"busy"},{"name":"In a call","kind":"busy"},{"name":"Do not disturb","kind":"dnd"}]}`

func newFake() *fake { return &fake{streams: make(chan *fakeStream, 100)} }

func (f *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, _ := io.ReadAll(req.Body)
		body = string(b)
	}
	f.mu.Lock()
	answer := f.answer
	if req.URL.Path != "/v1/events" {
		f.asked = append(f.asked, req.Method+" "+req.URL.RequestURI())
		f.bodies = append(f.bodies, body)
	}
	f.mu.Unlock()
	status, text, header := 200, "", []string(nil)
	if answer != nil {
		status, text, header = answer(req)
	}
	if status < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	res := &http.Response{StatusCode: status, Header: http.Header{}, Request: req, ProtoMajor: 1}
	for i := 0; i+1 < len(header); i += 2 {
		res.Header.Set(header[i], header[i+1])
	}
	if text == "" && status == 200 && req.URL.Path == "/v1/events" {
		pr, pw := io.Pipe()
		stop := context.AfterFunc(req.Context(), func() { pr.CloseWithError(req.Context().Err()) })
		res.Body = &closer{pr, func() { stop(); _ = pr.Close() }}
		if res.Header.Get("Content-Type") == "" {
			res.Header.Set("Content-Type", "text/event-stream")
		}
		f.mu.Lock()
		f.opened = append(f.opened, req.Header.Get("Last-Event-ID"))
		f.mu.Unlock()
		f.streams <- &fakeStream{pw, req.Header.Get("Last-Event-ID")}
		return res, nil
	}
	if text == "" && status == 200 {
		text = ordinary(req)
	}
	res.Body = io.NopCloser(strings.NewReader(text))
	return res, nil
}

func ordinary(req *http.Request) string {
	switch {
	case req.URL.Path == "/v1/statuses":
		return statusesJSON
	case req.URL.Path == "/v1/users":
		return `{"users":[{"id":"u1","email":"u1@contoso.example","presence":` + presenceJSON(1) + `}],"next":""}`
	default:
		return presenceJSON(1)
	}
}

func (f *fake) set(answer func(*http.Request) (int, string, []string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func (f *fake) count(what string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asked {
		if strings.HasPrefix(a, what) {
			n++
		}
	}
	return n
}

// opens counts the streams so far.
func (f *fake) opens() int {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.opened)
}

type closer struct {
	io.Reader
	close func()
}

func (c *closer) Close() error { c.close(); return nil }

// at answers one path in its own way.
func at(path string, status int, body string, header ...string) func(*http.Request) (int, string, []string) {
	return func(r *http.Request) (int, string, []string) {
		if strings.HasPrefix(r.URL.Path, path) {
			return status, body, header
		}
		return 200, "", nil
	}
}

// bench is a connector at a fake PBX.
type bench struct {
	*Client
	pbx *fake
	log *bytes.Buffer
	reg *prometheus.Registry
}

func newBench(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{pbx: newFake(), log: &bytes.Buffer{}, reg: prometheus.NewRegistry()}
	cfg := Config{
		Account: "contoso", Name: "main", URL: "http://pbx.test/adapter/", Token: func() (string, error) { return "s3cret\n", nil },
		HTTPClient: &http.Client{Transport: b.pbx, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Log:        slog.New(slog.NewTextHandler(&locked{w: b.log}, &slog.HandlerOptions{Level: slog.LevelInfo})), Metrics: b.reg,
	}
	for _, f := range change {
		f(&cfg)
	}
	cfg.HTTPClient.Transport = strip{"/adapter", b.pbx}
	var err error
	b.Client, err = New(cfg)
	require.NoError(t, err)
	return b
}

// metric is one sample of the bench's own connector; labels are values of the further labels.
func (b *bench) metric(t testing.TB, name string, labels ...string) float64 {
	return metricOf(t, b.reg, "main", name, labels...)
}

func metricOf(t testing.TB, reg *prometheus.Registry, pbx, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != "presence_bridge_pbx_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			values := map[string]bool{}
			for _, l := range m.GetLabel() {
				values[l.GetValue()] = true
			}
			all := values[pbx]
			for _, l := range labels {
				all = all && values[l]
			}
			if all {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

// strip takes the adapter's path off, as the adapter would.
type strip struct {
	prefix string
	next   http.RoundTripper
}

func (s strip) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasPrefix(r.URL.Path, s.prefix+"/v1/") {
		return nil, fmt.Errorf("asked for %s", r.URL.Path)
	}
	r = r.Clone(r.Context())
	r.URL.Path = strings.TrimPrefix(r.URL.Path, s.prefix)
	r.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, s.prefix)
	return s.next.RoundTrip(r)
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// watched is a bench whose watch runs, in virtual time.
type watched struct {
	*bench
	events chan pbx.Event
	slow   atomic.Bool // deliver takes a minute
}

// inBubble runs a test of a watch in virtual time, and stops the watch after it.
func inBubble(t *testing.T, test func(*testing.T, *watched), change ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{bench: newBench(t, change...), events: make(chan pbx.Event, 100_000)}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- w.Watch(ctx, func(e pbx.Event) {
				w.events <- e
				if w.slow.Load() {
					time.Sleep(time.Minute)
				}
			})
		}()
		defer func() {
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		}()
		test(t, w)
	})
}

// stream is the next one that the connector opens.
func (w *watched) stream() *fakeStream { return <-w.pbx.streams }

// got takes everything that was delivered by now, as a word each.
func (w *watched) got() (out []string) {
	synctest.Wait()
	for {
		select {
		case e := <-w.events:
			out = append(out, word(e))
		default:
			return out
		}
	}
}

func word(e pbx.Event) string {
	switch e.Kind {
	case pbx.EventReset:
		return "reset"
	case pbx.EventUsers:
		return "users"
	case pbx.EventSeen:
		return "seen"
	case pbx.EventState:
	}
	return fmt.Sprintf("%s@%d", e.User, e.State.Version)
}

// state is the connection as shown, with its code.
func (w *watched) state() string {
	synctest.Wait()
	c := w.Connection()
	return strings.TrimSuffix(string(c.State)+" "+c.Code, " ")
}

func (w *watched) pass(d time.Duration) { time.Sleep(d) }

package pbxsim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"
)

// contract is the document, ready to check answers with.
var contract = sync.OnceValues(func() (*checker, error) {
	doc, err := openapi3.NewLoader().LoadFromData([]byte(document))
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(doc)
	return &checker{doc, router}, err
})

type checker struct {
	doc    *openapi3.T
	router routers.Router
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) into(t testing.TB, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.body, v), "%s", a.body)
}

func (a answer) presence(t testing.TB) (p Presence) {
	t.Helper()
	require.Equal(t, 200, a.status, "%s", a.body)
	a.into(t, &p)
	return p
}

// caller speaks to a simulator as a client does, and checks every answer against the document.
type caller struct {
	t     testing.TB
	sim   *Sim
	token string
	http  *http.Client
}

func dial(t testing.TB, s *Sim) *caller {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &caller{t: t, sim: s, token: s.Token(), http: &http.Client{Transport: tr}}
}

func (c *caller) request(method, path, body string, headers ...string) *http.Request {
	c.t.Helper()
	req, err := http.NewRequest(method, c.sim.URL()+path, strings.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

func (c *caller) call(method, path, body string, headers ...string) answer {
	c.t.Helper()
	a, err := c.try(method, path, body, headers...)
	require.NoError(c.t, err)
	return a
}

func (c *caller) try(method, path, body string, headers ...string) (answer, error) {
	c.t.Helper()
	req := c.request(method, path, body, headers...)
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{res.StatusCode, res.Header, b}
	if strings.HasPrefix(path, "/v1/") {
		checkAnswer(c.t, req, a)
	}
	return a, nil
}

func checkAnswer(t testing.TB, req *http.Request, a answer) {
	t.Helper()
	ck, err := contract()
	require.NoError(t, err)
	var typed map[string]any
	if a.status != 200 {
		a.into(t, &typed)
		schema := ck.doc.Components.Schemas["Error"].Value
		require.NoError(t, schema.VisitJSON(typed, openapi3.EnableJSONSchema2020()))
	}
	route, params, err := ck.router.FindRoute(req)
	if err != nil {
		require.Contains(t, []int{401, 404, 405}, a.status, "an address that is not in the document: %s", req.URL)
		return
	}
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 a.status, Header: a.header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	in.SetBodyBytes(a.body)
	require.NoError(t, openapi3filter.ValidateResponse(context.Background(), in), "%s %s: %d %s", req.Method, req.URL, a.status, a.body)
	if route.Operation.Responses.Status(a.status) == nil {
		require.GreaterOrEqual(t, a.status, 500, "%d is not documented for %s %s", a.status, req.Method, req.URL.Path)
	}
}

func (c *caller) get(user string) Presence {
	c.t.Helper()
	return c.call("GET", "/v1/users/"+user+"/presence", "").presence(c.t)
}

func (c *caller) put(user, body string, headers ...string) answer {
	c.t.Helper()
	return c.call("PUT", "/v1/users/"+user+"/presence", body, headers...)
}

// listener is an open event stream.
type listener struct {
	t      testing.TB
	events chan event
	cancel context.CancelFunc
	lastID string
}

// event is one of a stream: its fields, or a comment, or the end.
type event struct {
	id, kind, data, comment string
	ended                   bool
}

// listen opens an event stream by hand, so that nothing but the wire is believed.
func (c *caller) listen(lastID string) *listener {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req := c.request("GET", "/v1/events", "").WithContext(ctx)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := c.http.Do(req)
	require.NoError(c.t, err)
	require.Equal(c.t, 200, res.StatusCode)
	require.Equal(c.t, "text/event-stream", res.Header.Get("Content-Type"))
	l := &listener{t: c.t, events: make(chan event, 10_000), cancel: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer res.Body.Close()
		l.read(res.Body)
	}()
	c.t.Cleanup(func() { cancel(); <-done })
	return l
}

func (l *listener) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	var cur event
	for sc.Scan() {
		line := sc.Text()
		switch {
		case line == "" && cur != event{}:
			l.events <- cur
			cur = event{}
		case strings.HasPrefix(line, ":"):
			l.events <- event{comment: line}
		case strings.HasPrefix(line, "id: "):
			cur.id = line[4:]
		case strings.HasPrefix(line, "event: "):
			cur.kind = line[7:]
		case strings.HasPrefix(line, "data: "):
			cur.data = line[6:]
		}
	}
	l.events <- event{ended: true}
}

// next is the next event that is no heartbeat.
func (l *listener) next() event {
	l.t.Helper()
	for {
		select {
		case e := <-l.events:
			if e.comment == "" {
				if e.id != "" {
					l.lastID = e.id
				}
				return e
			}
		case <-time.After(time.Minute):
			require.FailNow(l.t, "no event came")
		}
	}
}

// presence is the next event, which must be a presence and as documented.
func (l *listener) presence() (user string, p Presence) {
	l.t.Helper()
	e := l.next()
	require.Equal(l.t, "presence", e.kind, "%+v", e)
	require.NotEmpty(l.t, e.id)
	var raw any
	require.NoError(l.t, json.Unmarshal([]byte(e.data), &raw))
	ck, err := contract()
	require.NoError(l.t, err)
	require.NoError(l.t, ck.doc.Components.Schemas["PresenceEvent"].Value.VisitJSON(raw, openapi3.EnableJSONSchema2020()))
	var ev wireEvent
	require.NoError(l.t, json.Unmarshal([]byte(e.data), &ev))
	return ev.User, ev.Presence
}

func (l *listener) reset() {
	l.t.Helper()
	e := l.next()
	require.Equal(l.t, "reset", e.kind)
	require.Equal(l.t, "{}", e.data)
	require.NotEmpty(l.t, e.id)
}

// nextIs checks that the next event is the one that move makes, and about user.
func (l *listener) nextIs(user string, move func()) Presence {
	l.t.Helper()
	move()
	got, p := l.presence()
	require.Equal(l.t, user, got)
	return p
}

func TestDocumentIsTheConnectorsToo(t *testing.T) {
	original, err := os.ReadFile("../micollab/openapi.yaml")
	require.NoError(t, err)
	require.True(t, bytes.Equal(original, []byte(document)), "run go generate in bridge/pbx/pbxsim")
}

func TestDocumentIsServed(t *testing.T) {
	c := dial(t, start(t, Config{}))
	a := c.call("GET", "/openapi.yaml", "")
	require.Equal(t, 200, a.status)
	require.Equal(t, document, string(a.body))
	require.Contains(t, document, "openapi: 3.1")
	require.Equal(t, 405, c.call("POST", "/openapi.yaml", "").status)
}

func TestExamplesOfTheDocumentKeepItsRules(t *testing.T) {
	ck, err := contract()
	require.NoError(t, err)
	require.NoError(t, ck.doc.Validate(context.Background(), openapi3.EnableExamplesValidation()))
	p := ck.doc.Components.Schemas["Presence"].Value
	require.NotNil(t, p.Example)
	for _, bad := range []map[string]any{
		{"line": "levitating"}, {"version": 0.0}, {"changed_by": "api:"}, {"changed_by": "somebody"}, {"status": ""},
	} {
		v := map[string]any{}
		raw, err := json.Marshal(p.Example)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &v))
		require.NoError(t, p.VisitJSON(v, openapi3.EnableJSONSchema2020()))
		for k, x := range bad {
			v[k] = x
		}
		require.Error(t, p.VisitJSON(v, openapi3.EnableJSONSchema2020()), fmt.Sprint(bad))
	}
}

package sipsim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wire is a subscriber and publisher of another make: it speaks SIP by hand over one TCP connection.
type wire struct {
	t    *testing.T
	sim  *Sim
	conn net.Conn
	in   *bufio.Reader
	cseq int
}

type message struct {
	first string
	head  textproto.MIMEHeader
	body  string
}

func start(t *testing.T, cfg Config) *Sim {
	s, err := Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func dial(t *testing.T, s *Sim) *wire {
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return &wire{t: t, sim: s, conn: conn, in: bufio.NewReader(conn)}
}

func (w *wire) read() message {
	line, err := w.in.ReadString('\n')
	require.NoError(w.t, err)
	head, err := textproto.NewReader(w.in).ReadMIMEHeader()
	require.NoError(w.t, err)
	n, err := strconv.Atoi(head.Get("Content-Length"))
	require.NoError(w.t, err)
	body := make([]byte, n)
	_, err = io.ReadFull(w.in, body)
	require.NoError(w.t, err)
	return message{strings.TrimSpace(line), head, string(body)}
}

// ask sends a request and returns its answer; notifications that come first are answered and kept for later.
func (w *wire) ask(method, user string, head []string, body string) message {
	for range 3 {
		w.cseq++
		uri := "sip:" + user + "@" + w.sim.Domain()
		lines := append([]string{
			method + " " + uri + " SIP/2.0", fmt.Sprintf("Via: SIP/2.0/TCP %s;branch=z9hG4bK%s", w.conn.LocalAddr(), random()), "From: <sip:me@x>;tag=1",
			"To: <" + uri + ">", "Call-ID: call-" + user, fmt.Sprintf("CSeq: %d %s", w.cseq, method), "Contact: <sip:me@" + w.conn.LocalAddr().String() + ";transport=tcp>",
			"Max-Forwards: 70", fmt.Sprintf("Content-Length: %d", len(body)),
		}, head...)
		_, err := fmt.Fprintf(w.conn, "%s\r\n\r\n%s", strings.Join(lines, "\r\n"), body)
		require.NoError(w.t, err)
		m := w.read()
		if !strings.Contains(m.first, " 401 ") {
			return m
		}
		f := fields(strings.TrimPrefix(m.head.Get("Www-Authenticate"), "Digest "))
		require.Equal(w.t, w.sim.Domain(), f["realm"])
		head = append(without(head, "Authorization"), w.answer(method, uri, f))
	}
	w.t.Fatal("never admitted")
	return message{}
}

func without(head []string, name string) []string {
	var out []string
	for _, h := range head {
		if !strings.HasPrefix(h, name+":") {
			out = append(out, h)
		}
	}
	return out
}

func (w *wire) answer(method, uri string, f map[string]string) string {
	f["nc"], f["cnonce"], f["qop"], f["uri"] = "00000001", "c", "auth", uri
	return fmt.Sprintf(`Authorization: Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s", algorithm=%s, qop=auth, nc=00000001, cnonce="c"`,
		w.sim.Username(), f["realm"], f["nonce"], uri, digest(f, w.sim.Username(), w.sim.Password(), f["realm"], method), f["algorithm"])
}

// The example of RFC 2617 section 3.5.
func TestDigest(t *testing.T) {
	f := fields(`realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b"`)
	require.Equal(t, "6629fae49393a05397450978507c4ef1", digest(f, "Mufasa", "Circle Of Life", f["realm"], "GET"))
}

func (w *wire) notification() message {
	m := w.read()
	require.True(w.t, strings.HasPrefix(m.first, "NOTIFY "), m.first)
	_, err := fmt.Fprintf(w.conn, "SIP/2.0 200 OK\r\nVia: %s\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %s\r\nContent-Length: 0\r\n\r\n",
		m.head.Get("Via"), m.head.Get("From"), m.head.Get("To"), m.head.Get("Call-Id"), m.head.Get("Cseq"))
	require.NoError(w.t, err)
	return m
}

const published = `<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><tuple id="x"><status><basic>open</basic></status></tuple><d:person id="xp"><r:activities><r:meeting/></r:activities></d:person></presence>`

func TestPublishAndWatch(t *testing.T) {
	s := start(t, Config{})
	w := dial(t, s)
	m := w.ask("SUBSCRIBE", "1001", []string{"Event: presence", "Expires: 60"}, "")
	require.Contains(t, m.first, "200")
	require.Contains(t, w.notification().body, "open")
	pub := dial(t, s)
	m = pub.ask("PUBLISH", "1001", []string{"Event: presence", "Expires: 60", "Content-Type: application/pidf+xml"}, published)
	require.Contains(t, m.first, "200")
	etag := m.head.Get("Sip-Etag")
	require.NotEmpty(t, etag)
	require.Contains(t, w.notification().body, "meeting")
	p, err := s.Presence("1001")
	require.NoError(t, err)
	require.Equal(t, Presence{Line: "idle", Status: "meeting"}, p)
	own, err := s.Own("1001")
	require.NoError(t, err)
	require.Equal(t, "available", own.Status)
	// A renewal voids the etag before.
	m = pub.ask("PUBLISH", "1001", []string{"Event: presence", "Expires: 60", "SIP-If-Match: " + etag}, "")
	require.Contains(t, m.first, "200")
	require.Contains(t, pub.ask("PUBLISH", "1001", []string{"Event: presence", "Expires: 60", "SIP-If-Match: " + etag}, "").first, "412")
	m = pub.ask("PUBLISH", "1001", []string{"Event: presence", "Expires: 0", "SIP-If-Match: " + m.head.Get("Sip-Etag")}, "")
	require.Contains(t, m.first, "200")
	require.NotContains(t, w.notification().body, "meeting")
}

func TestRefusals(t *testing.T) {
	s := start(t, Config{MinExpires: 30 * time.Second, NoDialog: true})
	w := dial(t, s)
	require.Contains(t, w.ask("SUBSCRIBE", "1001", []string{"Event: dialog", "Expires: 60"}, "").first, "489")
	m := w.ask("SUBSCRIBE", "1001", []string{"Event: presence", "Expires: 5"}, "")
	require.Contains(t, m.first, "423")
	require.Equal(t, "30", m.head.Get("Min-Expires"))
	require.Contains(t, w.ask("SUBSCRIBE", "4711", []string{"Event: presence", "Expires: 60"}, "").first, "404")
	require.Contains(t, w.ask("PUBLISH", "1001", []string{"Event: presence", "Expires: 60"}, "").first, "400")
	require.NoError(t, s.SetFaults(Faults{Throttled: 1, RetryAfter: 7 * time.Second}))
	m = w.ask("PUBLISH", "1001", []string{"Event: presence", "Expires: 60"}, "")
	require.Contains(t, m.first, "503")
	require.Equal(t, "7", m.head.Get("Retry-After"))
	require.Error(t, s.SetFaults(Faults{Errors: 2}))
}

func TestLeasesEnd(t *testing.T) {
	s := start(t, Config{MaxExpires: time.Second})
	w := dial(t, s)
	m := w.ask("PUBLISH", "1001", []string{"Event: presence", "Expires: 600", "Content-Type: application/pidf+xml"}, published)
	require.Equal(t, "1", m.head.Get("Expires"))
	require.Eventually(t, func() bool { return s.Stats().Lapsed == 1 }, time.Minute, 10*time.Millisecond)
	p, err := s.Presence("1001")
	require.NoError(t, err)
	require.Equal(t, "available", p.Status)
}

func TestHandsAndChanges(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	s := start(t, Config{Users: 2, OnChange: func(c Change) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, c.By+" "+c.After.Line+" "+c.After.Status)
	}})
	require.NoError(t, s.Ring("1001"))
	require.NoError(t, s.StartCall("1001"))
	require.NoError(t, s.Hold("1001"))
	require.ErrorIs(t, s.Hold("1001"), ErrNoCall)
	require.NoError(t, s.Resume("1001"))
	require.NoError(t, s.EndCall("1001"))
	require.ErrorIs(t, s.EndCall("1001"), ErrNoCall)
	require.NoError(t, s.PickMessage("1001", "busy", "x"))
	require.ErrorIs(t, s.Pick("1001", "dancing"), ErrNoStatus)
	require.ErrorIs(t, s.Pick("4711", "busy"), ErrNoUser)
	require.NoError(t, s.GoOffline("1001"))
	require.ErrorIs(t, s.Ring("1001"), ErrOffline)
	require.NoError(t, s.GoOnline("1001"))
	want := []string{
		"line ringing available", "line in-call available", "line on-hold available", "line in-call available", "line idle available", "user idle busy",
		"line offline busy", "line idle busy",
	}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(lines) == len(want)
	}, time.Minute, 5*time.Millisecond)
	require.Equal(t, want, lines)
	require.NoError(t, s.Restart(context.Background(), RestartOptions{LoseState: true}))
	chosen, err := s.Chosen("1001")
	require.NoError(t, err)
	require.Equal(t, "available", chosen)
}

func TestPeopleMove(t *testing.T) {
	s := start(t, Config{Users: 20})
	p, err := s.NewPeople(PeopleConfig{Rate: 600, MeanCall: 10 * time.Millisecond})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Stats().LineChanges > 50 }, time.Minute, 5*time.Millisecond)
	p.Stop()
	_, err = s.NewPeople(PeopleConfig{Rate: -1})
	require.Error(t, err)
}

func TestControl(t *testing.T) {
	s := start(t, Config{Control: "127.0.0.1:0", Users: 2})
	post := func(method, path, body string) (int, map[string]any) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.ControlURL()+path, strings.NewReader(body))
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		var out map[string]any
		require.NoError(t, json.NewDecoder(res.Body).Decode(&out))
		return res.StatusCode, out
	}
	code, got := post("POST", "/sim/users/1001/call", "")
	require.Equal(t, 200, code)
	require.Equal(t, "in-call", got["presence"].(map[string]any)["line"])
	code, got = post("POST", "/sim/users/1001/pick", `{"status":"busy"}`)
	require.Equal(t, 200, code)
	require.Equal(t, "busy", got["chosen"])
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/sim/users", "", 200}, {"GET", "/sim/users/4711", "", 404}, {"POST", "/sim/users/1001/pick", "x", 400},
		{"POST", "/sim/users/1002/end", "", 409}, {"PUT", "/sim/faults", `{"preset":"some"}`, 200}, {"PUT", "/sim/faults", `{"preset":"x"}`, 409},
		{"GET", "/sim/stats", "", 200}, {"POST", "/sim/restart", `{"down":"1ms"}`, 200}, {"POST", "/sim/cut", "", 200},
	} {
		code, _ := post(c.method, c.path, c.body)
		require.Equal(t, c.want, code, c.path)
	}
}

func TestConfigMistakes(t *testing.T) {
	for _, cfg := range []Config{
		{UserList: []User{{User: "a"}, {User: "a"}}}, {UserList: []User{{User: "a@b"}}}, {Faults: Faults{Cut: -1}}, {Addr: "nowhere"},
	} {
		_, err := Start(cfg)
		require.Error(t, err)
	}
	for _, name := range []string{"none", "some", "cruel"} {
		f, err := FaultPreset(name)
		require.NoError(t, err)
		require.NoError(t, f.check())
	}
}

package sip_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/pbxtest"
	"presencebridge/bridge/pbx/sip"
	"presencebridge/bridge/pbx/sip/kamailio"
	"presencebridge/bridge/presence"
)

// patience is how long anything may take on a busy machine.
const patience = 90 * time.Second

// watcher keeps what a watch delivers.
type watcher struct {
	t      testing.TB
	mu     sync.Mutex
	states map[string]pbx.State
	kinds  map[pbx.EventKind]int
	news   map[string]int // states, by user
	tell   chan struct{}
}

// watch watches until the test ends.
func watch(t testing.TB, c pbx.Connector) *watcher {
	w := &watcher{t: t, states: map[string]pbx.State{}, kinds: map[pbx.EventKind]int{}, news: map[string]int{}, tell: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { _ = c.Watch(ctx, w.deliver) })
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	return w
}

func (w *watcher) deliver(e pbx.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kinds[e.Kind]++
	if e.Kind == pbx.EventState {
		w.states[e.User] = e.State
		w.news[e.User]++
	}
	select {
	case w.tell <- struct{}{}:
	default:
	}
}

// until waits for a condition, which is called with the mutex held.
func (w *watcher) until(what string, ok func() bool) {
	w.t.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		w.mu.Lock()
		good := ok()
		w.mu.Unlock()
		if good {
			return
		}
		select {
		case <-w.tell:
		case <-time.After(20 * time.Millisecond): // the condition may be about something else
		case <-end.C:
			require.FailNow(w.t, "waited in vain for "+what)
		}
	}
}

func ctxOf(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// direct connects to the server itself.
func (s *site) direct(url string, change func(*sip.Config)) pbx.Connector {
	return s.connect(func(c *sip.Config) {
		c.URL, c.Timeout = url, 10*time.Second
		if change != nil {
			change(c)
		}
	})
}

// TestTransports: the whole way there and back over each transport, with SHA-256 digest authentication.
func TestTransports(t *testing.T) {
	s := newSite(t, kamailio.Options{TLS: true})
	for name, url := range map[string]string{
		"udp": fmt.Sprintf("sip:127.0.0.1:%d", s.server.Port), "tcp": fmt.Sprintf("sip:127.0.0.1:%d;transport=tcp", s.server.Port),
		"tls": fmt.Sprintf("sips:127.0.0.1:%d", s.server.TLSPort),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.direct(url, func(c *sip.Config) { c.CAFile = s.server.CAFile })
			require.NoError(t, c.Verify(ctxOf(t)))
			w := watch(t, c)
			require.NoError(t, s.line("1001", presence.LineInCall))
			w.until("the call", func() bool { return w.states["1001"].Line == presence.LineInCall })
			require.NoError(t, s.pick("1001", "busy"))
			w.until("the choice", func() bool { return w.states["1001"].Status == presence.Status{Name: "busy", Kind: presence.KindDND} })
			note := "Back at three"
			_, err := c.Apply(ctxOf(t), "1002", pbx.Write{Status: presence.Status{Name: "on-the-phone"}, Message: &note})
			require.NoError(t, err)
			require.Equal(t, pbx.State{Status: presence.Status{Name: "on-the-phone"}, Message: note}, s.published("1002"))
			_, err = c.Apply(ctxOf(t), "1002", pbx.Write{})
			require.NoError(t, err)
			s.gone(w, "1002")
			require.NoError(t, s.line("1001", presence.LineIdle))
			require.NoError(t, s.pick("1001", "available"))
		})
	}
	t.Run("untrusted", func(t *testing.T) {
		err := s.direct(fmt.Sprintf("sips:127.0.0.1:%d", s.server.TLSPort), nil).Verify(ctxOf(t))
		var pe *pbx.Error
		require.ErrorAs(t, err, &pe)
		require.Contains(t, pe.Remedy, "ca_file")
	})
}

// TestEchoes: what we publish comes back to us, and is no news; nor is a refresh, for which Kamailio repeats everything.
func TestEchoes(t *testing.T) {
	s := newSite(t, kamailio.Options{})
	c := s.direct(fmt.Sprintf("sip:127.0.0.1:%d;transport=tcp", s.server.Port), func(c *sip.Config) { c.Expires, c.Lease = 2*time.Second, 2*time.Second })
	w := watch(t, c)
	w.until("everybody", func() bool { return len(w.states) == 4 })
	for _, name := range []string{"meeting", "busy", "away"} {
		got, err := c.Apply(ctxOf(t), "1001", pbx.Write{Status: presence.Status{Name: name}})
		require.NoError(t, err)
		require.Equal(t, "available", got.Status.Name, "the person's own beside ours")
	}
	// Renewals and refreshes go on meanwhile: each is a notification.
	began := time.Now()
	w.until("some refreshes", func() bool { return time.Since(began) > 5*time.Second })
	require.Equal(t, "away", s.published("1001").Status.Name, "a lease of two seconds was renewed")
	w.mu.Lock()
	require.Equal(t, 1, w.news["1001"], "no echo was delivered")
	w.mu.Unlock()
	require.NoError(t, s.pick("1001", "meal"))
	w.until("the choice", func() bool { return w.states["1001"].Status.Name == "meal" })
}

// TestEmptyIsUnknown: a PBX that knows nothing of somebody says so with an empty notification.
func TestEmptyIsUnknown(t *testing.T) {
	s := newSite(t, kamailio.Options{})
	require.NoError(t, os.WriteFile(s.users, []byte("extension\n7777\n"), 0o600))
	c := s.connect(nil)
	st, err := c.Read(ctxOf(t), "7777")
	require.NoError(t, err)
	require.Equal(t, pbx.State{}, st)
	w := watch(t, c)
	w.until("the first state", func() bool { return w.news["7777"] == 1 })
	require.Equal(t, pbx.State{}, w.states["7777"])
}

// TestFormerLife: a document of ours from a life that is forgotten is ours all the same; it cannot be removed, and ends
// with its lease.
func TestFormerLife(t *testing.T) {
	s := newSite(t, kamailio.Options{})
	short := func(c *sip.Config) { c.Lease = 4 * time.Second }
	before := s.connect(short)
	_, err := before.Apply(ctxOf(t), "1001", pbx.Write{Status: presence.Status{Name: "meeting"}})
	require.NoError(t, err)
	after := s.connect(short)
	st, err := after.Read(ctxOf(t), "1001")
	require.NoError(t, err)
	require.Equal(t, "available", st.Status.Name, "not taken for the person's")
	_, err = after.Apply(ctxOf(t), "1001", pbx.Write{})
	require.Equal(t, pbx.Unanswered, pbx.KindOf(err), "it still stands: %v", err)
	// What is sent again takes its place.
	_, err = after.Apply(ctxOf(t), "1001", pbx.Write{Status: presence.Status{Name: "away"}})
	require.NoError(t, err)
	require.Equal(t, "away", s.published("1001").Status.Name)
	deadline := time.Now().Add(patience)
	for err = errors.New("not yet"); err != nil && time.Now().Before(deadline); {
		_, err = after.Apply(ctxOf(t), "1001", pbx.Write{})
	}
	require.NoError(t, err, "once the lease is over")
	require.Eventually(t, func() bool { return s.published("1001") == pbx.State{} }, patience, 20*time.Millisecond)
}

// TestLostPublication: a PBX that forgot our document is given it again, in full (412).
func TestLostPublication(t *testing.T) {
	s := newSite(t, kamailio.Options{})
	c := s.connect(nil)
	w := watch(t, c)
	w.until("everybody", func() bool { return len(w.states) == 4 })
	_, err := c.Apply(ctxOf(t), "1001", pbx.Write{Status: presence.Status{Name: "meeting"}})
	require.NoError(t, err)
	require.NoError(t, s.restart(true))
	w.until("our document to be back", func() bool { return s.published("1001").Status.Name == "meeting" })
	_, err = c.Apply(ctxOf(t), "1001", pbx.Write{})
	require.NoError(t, err)
	s.gone(w, "1001")
}

// TestOnePackageMissing: 489 for one package leaves the other, with a warning.
func TestOnePackageMissing(t *testing.T) {
	s := newSiteWithoutDialogs(t)
	c := s.connect(nil)
	require.NoError(t, c.Verify(ctxOf(t)))
	w := watch(t, c)
	w.until("everybody", func() bool { return len(w.states) == 4 })
	require.Equal(t, presence.LineIdle, w.states["1001"].Line, "told from presence")
	require.NoError(t, s.pick("1001", "on-the-phone"))
	w.until("the call", func() bool { return w.states["1001"].Line == presence.LineInCall })
	require.Len(t, c.Connection().Warnings, 1)
	require.Equal(t, "no_dialog_package", c.Connection().Warnings[0].Code)
	users, err := c.Snapshot(ctxOf(t))
	require.NoError(t, err)
	require.Len(t, users, 4)
}

// TestShortExpires: a PBX that wants longer subscriptions says so (423), and gets them.
func TestShortExpires(t *testing.T) {
	s := newSite(t, kamailio.Options{MinExpires: 100})
	w := watch(t, s.connect(func(c *sip.Config) { c.Expires = 30 * time.Second }))
	w.until("everybody", func() bool { return len(w.states) == 4 })
	require.NoError(t, s.line("1001", presence.LineRinging))
	w.until("the ringing", func() bool { return w.states["1001"].Line == presence.LineRinging })
}

// TestVerifyExplains: what is wrong is said with what to do about it.
func TestVerifyExplains(t *testing.T) {
	s := newSite(t, kamailio.Options{})
	for mode, want := range map[string]struct {
		kind         pbx.ErrorKind
		text, remedy string
	}{
		"403": {pbx.Refused, "does not let it do this (403)", "right to subscribe"},
		"404": {pbx.Gone, "does not know the extensions (404)", "users_file"},
		"500": {pbx.Unanswered, "an error of its own (500)", "PBX's log"},
	} {
		s.server.Set("mode", mode)
		var pe *pbx.Error
		require.ErrorAs(t, s.connect(nil).Verify(ctxOf(t)), &pe, mode)
		require.Equal(t, want.kind, pe.Kind, mode)
		require.Contains(t, pe.Error(), want.text)
		require.Contains(t, pe.Remedy, want.remedy)
	}
	s.server.Set("mode", "silent")
	var pe *pbx.Error
	require.ErrorAs(t, s.connect(func(c *sip.Config) { c.Timeout = time.Second }).Verify(ctxOf(t)), &pe)
	require.Equal(t, pbx.Unanswered, pe.Kind)
	require.Contains(t, pe.Remedy, "network lets the bridge reach it")
	s.server.Set("mode", "ok")
	s.server.Set("password", "another one")
	require.ErrorAs(t, s.connect(nil).Verify(ctxOf(t)), &pe)
	require.Equal(t, pbx.Unauthorised, pe.Kind)
	require.Contains(t, pe.Remedy, "password_file")
	// The same in the watch, as its state.
	s.server.Set("mode", "403")
	c := s.connect(nil)
	w := watch(t, c)
	w.until("a person to be asked for", func() bool { return c.Connection().State == pbx.ConnNeedsPerson })
	require.Equal(t, "forbidden", c.Connection().Code)
	require.NotContains(t, c.Connection().Text, kamailio.Password)
}

// TestThousandsOfSubscriptions: on one connection, and again after Kamailio was killed in mid-run.
func TestThousandsOfSubscriptions(t *testing.T) {
	if testing.Short() {
		t.Skip("several thousand subscriptions")
	}
	const n = 2_000 // people: two subscriptions each
	s := newSite(t, kamailio.Options{Memory: 256})
	var b strings.Builder
	b.WriteString("extension\n1001\n1002\n")
	for i := range n - 2 {
		fmt.Fprintf(&b, "%d\n", 20_000+i)
	}
	require.NoError(t, os.WriteFile(s.users, []byte(b.String()), 0o600))
	c := s.direct(fmt.Sprintf("sip:127.0.0.1:%d;transport=tcp", s.server.Port), func(c *sip.Config) { c.Rate = 1000 })
	w := watch(t, c)
	all := func() int {
		users, err := c.Snapshot(ctxOf(t))
		if err != nil {
			return 0
		}
		return len(users)
	}
	w.until("everybody", func() bool { return len(w.states) == n })
	require.Equal(t, n, all())
	_, err := c.Apply(ctxOf(t), "1002", pbx.Write{Status: presence.Status{Name: "meeting"}})
	require.NoError(t, err)
	require.NoError(t, s.line("1001", presence.LineInCall))
	w.until("a call among thousands", func() bool { return w.states["1001"].Line == presence.LineInCall })

	s.server.Kill()
	s.server.Run()
	require.NoError(t, s.line("1001", presence.LineOnHold))
	w.until("a reset", func() bool { return w.kinds[pbx.EventReset] == 2 })
	w.until("what changed meanwhile", func() bool { return w.states["1001"].Line == presence.LineOnHold })
	require.Equal(t, n, all())
	require.NoError(t, s.line("1001", presence.LineIdle))
	w.until("what changed afterwards", func() bool { return w.states["1001"].Line == presence.LineIdle })
	require.Equal(t, "meeting", s.published("1002").Status.Name)
}

// gone waits until nothing of ours shows: Kamailio answers before it has removed a document.
func (s *site) gone(w *watcher, user string) {
	s.t.Helper()
	w.until("our document to be gone", func() bool { return s.published(user) == pbx.State{} })
}

func newSiteWithoutDialogs(t testing.TB) *site {
	s := &site{t: t, server: kamailio.Start(t, kamailio.Options{NoDialog: true}), password: pbxtest.NewSecret(kamailio.Password), people: map[string]*desk{}}
	s.proxy = s.server.Proxy(t)
	s.users = t.TempDir() + "/users.csv"
	for i := range 4 {
		d := &desk{phone: s.server.Phone(fmt.Sprint(1001 + i)), status: "available", line: presence.LineIdle}
		s.people[d.phone.User] = d
		s.order = append(s.order, d.phone.User)
		require.NoError(t, d.publishPresence())
	}
	require.NoError(t, s.writeUsers())
	return s
}

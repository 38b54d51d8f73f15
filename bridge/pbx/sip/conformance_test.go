package sip_test

import (
	"fmt"
	"os"
	"path/filepath"
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

// TestConformance runs the suite against a real Kamailio, with a proxy in front for the faults.
func TestConformance(t *testing.T) {
	pbxtest.Run(t, pbxtest.Target{
		Patience: time.Minute,
		Start:    func(t testing.TB) *pbxtest.World { return newSite(t, kamailio.Options{}).world() },
	})
}

// site is a Kamailio with people who have phones.
type site struct {
	t      testing.TB
	server *kamailio.Server
	proxy  *kamailio.Proxy
	users  string // the users file

	password *pbxtest.Secret

	mu     sync.Mutex // guards the rest
	order  []string
	people map[string]*desk
}

// desk is somebody at their phone.
type desk struct {
	phone  *kamailio.Phone
	status string
	line   presence.Line
	lost   bool // the server lost what was published, and the phone does not know
}

func newSite(t testing.TB, o kamailio.Options) *site {
	s := &site{t: t, server: kamailio.Start(t, o), password: pbxtest.NewSecret(kamailio.Password), people: map[string]*desk{}}
	s.proxy = s.server.Proxy(t)
	s.users = filepath.Join(t.TempDir(), "users.csv")
	for i := range 4 {
		require.NoError(t, s.join(fmt.Sprint(1001+i)))
	}
	return s
}

func (s *site) join(user string) error {
	d := &desk{phone: s.server.Phone(user), status: "available", line: presence.LineIdle}
	s.mu.Lock()
	s.order = append(s.order, user)
	s.people[user] = d
	s.mu.Unlock()
	if err := d.publish(); err != nil {
		return err
	}
	return s.writeUsers()
}

func (s *site) leave(user string) error {
	s.mu.Lock()
	delete(s.people, user)
	s.mu.Unlock()
	return s.writeUsers()
}

func (s *site) writeUsers() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	b.WriteString("extension,mail,name\n")
	for _, u := range s.order {
		if s.people[u] != nil {
			fmt.Fprintf(&b, "%s,user%s@contoso.example,User %s\n", u, u, u)
		}
	}
	return os.WriteFile(s.users, []byte(b.String()), 0o600)
}

// publish publishes all that the phone knows.
func (d *desk) publish() error {
	if err := d.publishPresence(); err != nil {
		return err
	}
	return d.publishLine()
}

func (d *desk) publishPresence() error {
	activity, note := d.status, ""
	switch d.status {
	case "available":
		activity = ""
	case "busy":
		note = "Do not disturb"
	}
	return d.phone.Presence(d.line != presence.LineOffline, activity, note)
}

func (d *desk) publishLine() error {
	switch d.line {
	case presence.LineRinging:
		return d.phone.Calls(`<state>early</state>`)
	case presence.LineInCall:
		return d.phone.Calls(`<state>confirmed</state>`)
	case presence.LineOnHold:
		return d.phone.Calls(`<state>confirmed</state><local><target uri="sip:x@example.com"><param pname="+sip.rendering" pval="no"/></target></local>`)
	case presence.LineIdle, presence.LineOffline, presence.LineUnknown:
	}
	return d.phone.Calls()
}

func (s *site) desk(user string) *desk {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.people[user]
	require.NotNil(s.t, d, user)
	return d
}

func (s *site) pick(user, status string) error {
	d := s.desk(user)
	d.status = status
	return d.mended(d.publishPresence)
}

func (s *site) line(user string, line presence.Line) error {
	d := s.desk(user)
	was := d.line
	d.line = line
	if (was == presence.LineOffline) != (line == presence.LineOffline) {
		if err := d.publishPresence(); err != nil {
			return err
		}
	}
	return d.mended(d.publishLine)
}

// mended publishes what changed; a phone whose server lost everything publishes everything.
func (d *desk) mended(publish func() error) error {
	if d.lost {
		d.lost = false
		return d.publish()
	}
	return publish()
}

func (s *site) shown(user string) pbx.State {
	d := s.desk(user)
	switch {
	case d.lost:
		return pbx.State{}
	case d.line == presence.LineOffline && d.status == "available":
		return pbx.State{Line: d.line} // closed, and nothing chosen
	}
	return pbx.State{Line: d.line, Status: presence.Status{Name: d.status}}
}

// published finds our document in what everybody sees.
func (s *site) published(user string) pbx.State {
	body, err := s.desk(user).phone.Shown()
	require.NoError(s.t, err)
	return ownDocument(s.t, body)
}

func (s *site) connect(change func(*sip.Config)) pbx.Connector {
	cfg := sip.Config{
		Account: "contoso", Name: "main", URL: fmt.Sprintf("sip:127.0.0.1:%d;transport=tcp", s.proxy.Port), Domain: kamailio.Domain,
		Username: kamailio.Username, UsersFile: s.users,
		Password: s.password.Read,
		Timeout:  3 * time.Second, Ping: time.Minute, BackoffMin: 5 * time.Millisecond, BackoffMax: 200 * time.Millisecond,
		Debounce: 100 * time.Millisecond, UsersInterval: 100 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	c, err := sip.New(cfg)
	require.NoError(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

func (s *site) world() *pbxtest.World {
	w := &pbxtest.World{
		Connect: func(testing.TB) pbx.Connector { return s.connect(nil) },
		ConnectWary: func(testing.TB) pbx.Connector {
			return s.connect(func(c *sip.Config) { c.Ping, c.Timeout = 100*time.Millisecond, time.Second })
		},
		First: presence.Status{Name: "meeting", Kind: presence.KindBusy}, Second: presence.Status{Name: "busy", Kind: presence.KindDND},
		Pick: s.pick, Line: s.line, Shown: s.shown, Published: s.published, CutWatch: s.proxy.Cut, StallWatch: s.proxy.Hold,
		Restart: s.restart, Revoke: s.password.Revoke(s.setPassword), Expire: s.expire, Leave: s.leave, Pending: s.proxy.Pending,
		Slow:     func(d time.Duration) { s.proxy.Hold(d > 0) },
		Break:    func(on bool) { s.mode(on, "500") },
		Throttle: func(d time.Duration) { s.server.Set("wait", fmt.Sprint(int(d.Seconds()))); s.mode(d > 0, "503") },
		Join:     func() (string, error) { return "1099", s.join("1099") },
	}
	s.faults(w)
	w.Users = append(w.Users, s.order...)
	return w
}

func (s *site) mode(on bool, mode string) {
	if !on {
		mode = "ok"
	}
	s.server.Set("mode", mode)
}

// faults are those that the proxy makes.
func (s *site) faults(w *pbxtest.World) {
	judge := func(on bool, j func(kamailio.Message) kamailio.Verdict) {
		if !on {
			j = nil
		}
		s.proxy.Judge(j)
	}
	w.FailApplied = func(on bool) {
		judge(on, func(m kamailio.Message) kamailio.Verdict {
			return kamailio.Verdict{Drop: m.Method == "PUBLISH" && m.Code == 200}
		})
	}
	w.Repeat = func(on bool) {
		judge(on, func(m kamailio.Message) kamailio.Verdict {
			return kamailio.Verdict{Twice: m.Method == "NOTIFY" && m.Code == 0}
		})
	}
	w.Shuffle = func(on bool) {
		judge(on, func(m kamailio.Message) kamailio.Verdict {
			if m.Method == "NOTIFY" && m.Code == 0 && kamailio.Chance(50) {
				return kamailio.Verdict{Delay: 100 * time.Millisecond}
			}
			return kamailio.Verdict{}
		})
	}
	w.Cruel = func(on bool) {
		judge(on, func(m kamailio.Message) kamailio.Verdict {
			switch {
			case kamailio.Chance(1):
				return kamailio.Verdict{Cut: true}
			case m.Code != 0 && !m.ToServer && kamailio.Chance(2):
				return kamailio.Verdict{Drop: true}
			case kamailio.Chance(10):
				return kamailio.Verdict{Delay: 20 * time.Millisecond}
			}
			return kamailio.Verdict{Twice: kamailio.Chance(5)}
		})
	}
}

func (s *site) restart(loseState bool) error {
	s.server.Restart(loseState)
	if loseState {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, d := range s.people {
			d.phone.Forget()
			d.lost = true
		}
	}
	return nil
}

func (s *site) setPassword(to string) {
	s.server.Set("password", to)
	s.proxy.Cut()
}

// expire makes all nonces invalid: those of another realm are.
func (s *site) expire() {
	s.server.Set("realm", fmt.Sprintf("realm-%d", time.Now().UnixNano()))
}

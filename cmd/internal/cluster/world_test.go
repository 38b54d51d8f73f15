package cluster

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/graph/graphsim"
)

// world is one tenant with its PBX, the receiver and console in front of it, and the replicas that may own it.
type world struct {
	name  string
	dir   string
	graph *graphsim.Sim
	pbx   *pbxsim.Sim
	front *app.App // receiver and console, in this process
	admin *client.Client

	replicas []*process

	mu       sync.Mutex
	expected map[int]*member // by number: what the judge wants to see
	ours     map[string]int  // changes on the PBX that the bridge made, by user
	shown    map[string]int  // changes in Teams that the bridge made, by user
	shows    map[string][]string
}

// member is what one person does.
type member struct {
	inTeams, onPhone bool
	moves            int // calls begun and ended in Teams
	calls            int // calls begun and ended on the phone
}

// people is how many there are: enough that nobody calls so often that it looks like two programs that fight.
const people = 40

// newWorld starts a tenant and everything but the replicas.
func newWorld(t *testing.T, nats, name string) *world {
	t.Helper()
	w := &world{name: name, dir: t.TempDir(), expected: map[int]*member{}, ours: map[string]int{}, shown: map[string]int{}, shows: map[string][]string{}}
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(name))
	var err error
	w.graph, err = graphsim.Start(graphsim.Config{
		Domain: name + ".example", Users: people, Monitors: []string{w.monitor()}, AutoApprove: true, Seed: seed.Sum64(),
		DeviceInterval: time.Second, Delivery: graphsim.Delivery{AllowHTTP: true}, OnChange: w.teamsChanged,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.graph.Close()) })
	var phones []pbxsim.User
	for i, u := range w.graph.Users() {
		phones = append(phones, pbxsim.User{ID: phone(i), Email: u.Mail, Extension: fmt.Sprint(1000 + i), DisplayName: u.DisplayName})
		if u.UPN != w.monitor() {
			require.NoError(t, w.graph.SignIn(u.UPN))
		}
	}
	w.pbx, err = pbxsim.Start(pbxsim.Config{UserList: phones, OnChange: w.phoneChanged})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.pbx.Close()) })
	w.openFront(t, nats)
	return w
}

func phone(i int) string { return fmt.Sprintf("u%d", i) }

func (w *world) monitor() string { return "presence1@" + w.name + ".example" }

// person is the tenant's user with the phone of that number.
func (w *world) person(i int) string {
	for _, u := range w.pbx.Users() {
		if u.ID == phone(i) {
			return u.Email
		}
	}
	return ""
}

// openFront starts the receiver and the console.
func (w *world) openFront(t *testing.T, nats string) {
	t.Helper()
	hook := listen(t)
	file := w.yaml(t, "front", nats, hook.Addr().String())
	roles := []config.Role{config.RoleWebhook, config.RoleConsole}
	cfg, err := config.Load(file, config.Options{Files: true, Roles: roles})
	require.NoError(t, err)
	w.front, err = app.Start(context.Background(), app.Options{
		Config: cfg, Roles: roles, WebhookListener: hook, Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, w.front.Stop(ctx))
	})
	w.admin, err = client.New("http://"+w.front.AdminAddr(), w.front.AdminToken())
	require.NoError(t, err)
}

// yaml writes the configuration of one process.
func (w *world) yaml(t *testing.T, process, nats, public string) string {
	t.Helper()
	write := func(name, content string) string {
		file := filepath.Join(w.dir, name)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		return file
	}
	key := func(name, fill string) string {
		return write(name, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)))+"\n")
	}
	if public == "" {
		public = w.front.WebhookAddr()
	}
	return write(process+".yaml", fmt.Sprintf(`
listen: {webhook: %q, admin: "127.0.0.1:0"}
public_url: http://%s
data_dir: %s
nats: {url: %q, max_store: 256MiB}
master_key_file: %s
webhook_key_file: %s
admin: {token_file: %s}
accounts:
  - name: %s
    graph:
      tenant_id: %s
      client_id: %s
      client_secret_file: %s
      endpoints: {login: %s, graph: %s, ca_file: %s}
    monitors: [{upn: %s}]
    pbx:
      - {name: main, type: micollab, url: %s, token_file: %s, writes_per_second: 200, settle: 200ms, timeout: 2s}
    teams: {settle: 500ms}
    hold_down: 200ms
    write_grace: 1s
    policy: {preset: micollab}
`, public, public, filepath.Join(w.dir, process), nats, key("master.key", "m"), key("webhook.key", "w"), key("token", "t"), w.name,
		w.graph.TenantID, w.graph.ClientID, write("secret", w.graph.ClientSecret), w.graph.LoginURL(), w.graph.GraphURL(),
		write("ca.pem", string(w.graph.CAPEM())), w.monitor(), w.pbx.URL(), write("pbx-token", w.pbx.Token())))
}

// replica starts a process that may own the account.
func (w *world) replica(t *testing.T, nats string) *process {
	t.Helper()
	name := fmt.Sprintf("%s-%d", w.name, len(w.replicas))
	p := start(t, name, "bridge", "serve", "--config", w.yaml(t, name, nats, ""), "--roles", "engine")
	w.replicas = append(w.replicas, p)
	eventually(t, func() bool { return len(p.heard("presence-bridge is running")) > 0 }, name+" runs")
	return p
}

// owner waits until exactly one replica of those that live believes that it runs the account.
func (w *world) owner(t *testing.T) (owner, other *process) {
	t.Helper()
	eventually(t, func() bool {
		owner, other = nil, nil
		n := 0
		for _, p := range w.replicas {
			select {
			case <-p.done:
				continue
			default:
			}
			if p.runs(w.name) {
				owner = p
				n++
			} else {
				other = p
			}
		}
		return n == 1
	}, "one replica runs the account")
	return owner, other
}

// begin has the monitor signed in and everybody seen on both sides.
func (w *world) begin(t *testing.T) {
	t.Helper()
	var auth api.Authorization
	eventually(t, func() bool {
		var err error
		auth, err = w.admin.Authorize(t.Context(), w.name, w.monitor())
		return err == nil
	}, "the sign-in begins")
	auth, err := w.admin.AwaitAuthorization(t.Context(), auth)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, auth.State, auth.Message)
	eventually(t, func() bool { return len(w.graph.Subscriptions()) == 1 }, "a subscription is made")
	eventually(t, func() bool {
		n := 0
		for m, err := range w.admin.Members(t.Context(), w.name, "") {
			if err == nil && m.Teams.OrganicState == "seen" && len(m.Endpoints) == 1 && m.Endpoints[0].Known {
				n++
			}
		}
		return n >= people
	}, "everybody is seen on both sides")
}

// phoneChanged counts what the bridge changed on the PBX.
func (w *world) phoneChanged(c pbxsim.Change) {
	if !strings.HasPrefix(c.By, "api:") {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ours[c.User]++
	w.shows[c.User] = append(w.shows[c.User], time.Now().Format("05.000 ")+c.After.Status)
}

// teamsChanged counts what the bridge changed in Teams.
func (w *world) teamsChanged(c graphsim.Change) {
	if !c.Ours || !c.Visible() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown[c.UPN]++
	w.shows[c.UPN] = append(w.shows[c.UPN], time.Now().Format("05.000 ")+c.To.String())
}

func (w *world) member(i int) *member {
	if w.expected[i] == nil {
		w.expected[i] = &member{}
	}
	return w.expected[i]
}

// teamsCall begins or ends a call in Teams.
func (w *world) teamsCall(t *testing.T, i int, on bool) {
	t.Helper()
	m := w.member(i)
	if m.inTeams == on {
		return
	}
	m.inTeams = on
	m.moves++
	if on {
		assert.NoError(t, w.graph.StartCall(w.person(i)))
	} else {
		assert.NoError(t, w.graph.EndCall(w.person(i)))
	}
}

// phoneCall begins or ends a call on the PBX.
func (w *world) phoneCall(t *testing.T, i int, on bool) {
	t.Helper()
	m := w.member(i)
	if m.onPhone == on {
		return
	}
	m.onPhone = on
	m.calls++
	if on {
		assert.NoError(t, w.pbx.StartCall(phone(i)))
	} else {
		assert.NoError(t, w.pbx.EndCall(phone(i)))
	}
}

// wrong says what is not as it should be, for one member.
func (w *world) wrong(i int) string {
	m := w.member(i)
	want := "Available"
	if m.inTeams {
		want = "In a call"
	}
	p, err := w.pbx.Presence(phone(i))
	if err != nil || p.Status != want {
		return fmt.Sprintf("phone %d shows %q, want %q", i, p.Status, want)
	}
	shown := w.graph.Shown(w.person(i))
	wantTeams := graphsim.Available
	if m.onPhone || m.inTeams {
		wantTeams = graphsim.InACall
	}
	if shown != wantTeams {
		return fmt.Sprintf("%d shows %v in Teams, want %v", i, shown, wantTeams)
	}
	if _, ours := w.graph.AppSession(w.person(i)); ours != m.onPhone {
		return fmt.Sprintf("%d has a session of ours in Teams: %v", i, ours)
	}
	return ""
}

// judge waits until both sides of everybody agree with policy, and stay so; then nothing may have been done twice: no
// write more than there were causes, none that changed nothing, and no subscription but the first.
func (w *world) judge(t *testing.T) {
	t.Helper()
	w.settled(t)
	quiet := time.NewTimer(2 * time.Second)
	defer quiet.Stop()
	<-quiet.C
	for i := range people {
		require.Empty(t, w.wrong(i), "and stay so")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range people {
		m := w.member(i)
		require.LessOrEqual(t, w.ours[phone(i)], m.moves, "phone %d was written to more often than its person moved: %v", i, w.shows[phone(i)])
		require.LessOrEqual(t, w.shown[w.person(i)], m.calls, "%d was changed in Teams more often than their phone: %v", i, w.shows[w.person(i)])
	}
	stats := w.pbx.Stats()
	require.Zero(t, stats.WritesNoChange, "a write was done twice")
	require.Zero(t, stats.WritesRefused)
	created := int64(0)
	for _, n := range w.graph.Stats().Requests["createSubscription"] {
		created += n
	}
	require.EqualValues(t, 1, created, "no subscription was made anew")
}

// traffic lets people call until the context ends, and leaves everybody as the last call left them.
func (w *world) traffic(ctx context.Context, t *testing.T, every time.Duration) {
	t.Helper()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		i := n % people
		if i%2 == 0 {
			w.teamsCall(t, i, !w.member(i).inTeams)
		} else {
			w.phoneCall(t, i, !w.member(i).onPhone)
		}
	}
}

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	mrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/sims"
	"presencebridge/graph/graphsim"
)

// asBridge tells the test binary to be a bridge, for tests that kill it. It does not begin with PRESENCE_BRIDGE_,
// which is the configuration's own.
const asBridge = "BRIDGE_TEST_CONFIG"

func TestMain(m *testing.M) {
	if file := os.Getenv(asBridge); file != "" {
		os.Exit(runBridge(file))
	}
	os.Exit(m.Run())
}

// runBridge is a bridge in a process of its own, until it is killed.
func runBridge(file string) int {
	cfg, err := config.Load(file, config.Options{Files: true})
	if err == nil {
		var a *app.App
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if a, err = app.Start(context.Background(), app.Options{Config: cfg, Log: log}); err == nil {
			<-a.Done()
		}
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "presence-bridge:", err)
	}
	return 1
}

// bridgeProcess is the command that runs one.
func bridgeProcess(file string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asBridge+"="+file)
	return cmd
}

func TestUnattendedRunConvergesAndReports(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	err := Run(t.Context(), Config{
		Members: 120, Duration: 3 * time.Second, Seed: 3, Faults: "some", Rate: 6, Report: file, Out: &out,
	})
	require.NoError(t, err, out.String())
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(data, &got))
	for _, key := range []string{
		"members", "monitors", "teams_changes", "pbx_changes", "writes_to_pbx", "writes_to_teams", "echoes", "mismatched",
		"mapped_changes", "landed_writes", "landed_writes_per_mapped_change", "stuck", "lost", "converged", "latency_ms", "sweep_interval_s",
	} {
		require.Contains(t, got, key)
	}
	latency, ok := got["latency_ms"].(map[string]any)
	require.True(t, ok)
	for _, key := range []string{"p50", "p99", "confirmed"} {
		require.Contains(t, latency, key)
	}
	require.InDelta(t, 120, got["members"], 0)
	require.Greater(t, got["teams_changes"], 12.0, "at least a tenth of the members a minute, and more at this rate")
	require.Greater(t, got["pbx_changes"], 12.0)
	require.Greater(t, got["writes_to_pbx"], 0.0)
	require.Greater(t, got["writes_to_teams"], 0.0)
}

func TestBadFlagsAreRefused(t *testing.T) {
	for text, cfg := range map[string]Config{
		"--members 0":         {Faults: "none"},
		"--monitors -1":       {Members: 1, Monitors: -1, Faults: "none"},
		"none, some or cruel": {Members: 1, Faults: "brutal"},
		"--rate -1":           {Members: 1, Faults: "none", Rate: -1},
		"--rate NaN":          {Members: 1, Faults: "none", Rate: math.NaN()},
		"--report":            {Members: 1, Faults: "none", Report: filepath.Join(t.TempDir(), "nowhere", "r.json")},
		"--pbx telegraph":     {Members: 1, Faults: "none", PBX: "telegraph"},
	} {
		require.ErrorContains(t, Run(t.Context(), cfg), text)
	}
}

// TestKilledInTrafficLosesNothing kills a bridge in a process of its own with SIGKILL while people move on both sides, lets them go on
// without it, starts it again, and compares everybody once they stand still.
func TestKilledInTrafficLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes under the race detector, which sees nothing of the process that is killed")
	}
	cfg, err := Config{Members: 60, Seed: 5, Faults: "none"}.withDefaults()
	require.NoError(t, err)
	s, err := newStage(cfg, t.TempDir(), newWatcher(cfg))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close()) })
	s.graph.Live(graphsim.PeopleConfig{Seed: 5, Rate: 0.0001, Start: true}).Stop()
	file := s.childConfig(t)

	child := startServe(t, file)
	c := s.childReady(t, child)
	require.NoError(t, s.authorizeAll(t.Context(), c, sims.Monitors(cfg.Monitors, domain)))
	wait(t, func() bool { return len(s.graph.Subscriptions()) == cfg.Monitors }, "everybody is subscribed")

	text, err := bridgeProcess(file).CombinedOutput()
	require.Error(t, err, "a second bridge on the same data_dir")
	require.Contains(t, string(text), "presence-bridge:")

	s.watch.begin()
	teams := s.graph.Live(graphsim.PeopleConfig{Seed: 5, Rate: 20})
	stopPhones, err := s.pbxs[0].Move(20, 5)
	require.NoError(t, err)
	wait(t, func() bool { return s.pbxs[0].Writes() > 30 }, "the bridge is in mid-traffic")
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	changes := s.pbxs[0].Lines()
	wait(t, func() bool { return s.pbxs[0].Lines() > changes+10 }, "people go on without the bridge")

	child = startServe(t, file)
	c = s.childReady(t, child)
	teams.Stop()
	stopPhones()
	var left []disagreement
	deadline := time.Now().Add(4 * time.Minute)
	for time.Now().Before(deadline) {
		if left = s.disagreements(); len(left) == 0 && time.Since(s.watch.lastChange()) > 8*time.Second {
			break
		}
		require.NoError(t, tick(t.Context()))
	}
	require.Empty(t, left)
	s.resyncAgrees(t, c)
}

// resyncAgrees orders a resync of everybody: it must end, with nothing left to change.
func (s *stage) resyncAgrees(t *testing.T, c *client.Client) {
	t.Helper()
	job, err := c.Resync(t.Context(), accountName, "")
	require.NoError(t, err)
	job, err = c.AwaitJob(t.Context(), job.ID, nil)
	require.NoError(t, err)
	require.Equal(t, api.JobDone, job.State, job.Error)
	require.Equal(t, len(s.people), job.Done)
	require.Empty(t, s.disagreements())
}

// childConfig writes a configuration for a bridge in a process of its own, on free ports.
func (s *stage) childConfig(t *testing.T) string {
	t.Helper()
	for i, addr := range []*string{&s.hook, &s.admin} { // below the ports that the system gives away by itself
		for *addr == "" {
			if ln, err := s.listen(t.Context(), addr, fmt.Sprint("127.0.0.1:", 10_000+2*mrand.IntN(10_000)+i)); err == nil {
				require.NoError(t, ln.Close())
			}
		}
	}
	text, err := s.yaml()
	require.NoError(t, err)
	file, err := s.file("serve.yaml", text)
	require.NoError(t, err)
	return file
}

func startServe(t *testing.T, file string) *exec.Cmd {
	t.Helper()
	cmd := bridgeProcess(file)
	if testing.Verbose() {
		cmd.Stderr = os.Stderr
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // already gone, mostly
		_ = cmd.Wait()
	})
	return cmd
}

// childReady waits until the process answers, and returns the way to its admin API.
func (s *stage) childReady(t *testing.T, _ *exec.Cmd) *client.Client {
	t.Helper()
	wait(t, func() bool {
		resp, err := http.Get("http://" + s.admin + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK
	}, "the bridge is ready")
	token, err := os.ReadFile(filepath.Join(s.dir, "data", "admin-token"))
	require.NoError(t, err)
	c, err := client.New("http://"+s.admin, string(bytes.TrimSpace(token)))
	require.NoError(t, err)
	return c
}

func wait(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, 3*time.Minute, 50*time.Millisecond, what)
}

// tick lets the world go on for a moment.
func tick(ctx context.Context) error { return sleep(ctx, 250*time.Millisecond) }

// The judge is what the demo's promise rests on, so it is tried on members that are wrong.
func TestJudgeFindsWhatIsWrong(t *testing.T) {
	p, err := policy.Parse([]byte("preset: micollab"))
	require.NoError(t, err)
	w := newWatcher(Config{})
	w.introduce(nil, p)
	catalogue := policy.Catalogue{{Name: "Available", Kind: "available"}, {Name: "In a call", Kind: "busy"}, {Name: "Do not disturb", Kind: "dnd"}}
	s := &stage{cfg: Config{Faults: "none"}, watch: w, policy: p}
	available, call, dnd := catalogue[0], catalogue[1], catalogue[2]
	inCall := presence.ParsePairString("Busy/InACall")
	idle := presence.ParsePairString("Available")
	long := time.Now().Add(-time.Hour)
	phone := func(k *knowledge) *disagreement { return s.judgePhone(k, &k.phones[0]) }
	member := func(change func(*knowledge)) *knowledge {
		k := &knowledge{shown: idle, organic: idle, phones: []phoneKnowledge{{
			h: handset{pbx: "main", catalogue: catalogue}, line: presence.LineIdle, chosen: available, shows: available,
		}}}
		if change != nil {
			change(k)
		}
		return k
	}

	require.Nil(t, phone(member(nil)))
	require.Nil(t, s.judgeTeams(member(nil)))

	stuck := member(func(k *knowledge) { k.phones[0].shows = call })
	require.Equal(t, faultStuck, phone(stuck).kind, "ours shows on the phone without a cause")

	session := member(func(k *knowledge) { k.session, k.shown, k.hidden = inCall, inCall, true })
	require.Equal(t, faultStuck, s.judgeTeams(session).kind, "ours shows in Teams without a cause")

	woken := member(func(k *knowledge) {
		k.shown, k.organic, k.session, k.woken = presence.ParsePairString("DoNotDisturb"), presence.ParsePairString("Offline"), inCall, true
	})
	require.Nil(t, phone(woken), "a preference that our session woke asks for nothing")
	woken.phones[0].shows = dnd
	require.Nil(t, phone(woken), "or is the person's own from before they left: nobody can tell")
	woken.phones[0].shows = call
	require.NotNil(t, phone(woken), "but nothing else")

	lost := member(func(k *knowledge) {
		k.shown, k.organic = inCall, inCall
		k.phones[0].h.wantFrom, k.phones[0].h.picked = time.Now(), long
	})
	require.Equal(t, faultLost, phone(lost).kind, "a call in Teams does not show on the phone")
	lost.phones[0].h.picked = time.Now()
	require.Nil(t, phone(lost), "unless the person chose meanwhile")

	ringing := member(func(k *knowledge) { k.phones[0].line = presence.LineInCall })
	require.Equal(t, faultLost, s.judgeTeams(ringing).kind, "a call on the phone does not show in Teams")

	blind := member(func(k *knowledge) {
		k.phones[0].h.chosen = available
		k.phones[0].h.want, k.phones[0].h.wantFrom = call, long
		k.phones[0].h.pick(call, time.Now(), time.Second)
		k.phones[0].chosen = k.phones[0].h.chosen
	})
	require.NotEmpty(t, s.judgeMember(blind), "a choice is given back")
	blind.phones[0].h.chosen, blind.phones[0].h.wantFrom, blind.phones[0].h.picked = available, time.Now(), long
	blind.phones[0].h.pick(call, time.Now(), time.Second)
	require.Empty(t, s.judgeMember(blind), "unless it was just what the bridge was writing, on a PBX that does not say who chose")
	blind = member(func(k *knowledge) {
		k.phones[0].h.authors, k.phones[0].h.chosen = true, available
		k.phones[0].h.want, k.phones[0].h.wantFrom = call, time.Now()
		k.phones[0].h.pick(call, time.Now(), time.Second)
		k.phones[0].chosen = k.phones[0].h.chosen
	})
	require.NotEmpty(t, s.judgeMember(blind))

	second := member(func(k *knowledge) {
		k.session, k.shown, k.hidden = inCall, inCall, true
		k.phones = append(k.phones, k.phones[0])
		k.phones[1].h.pbx, k.phones[1].line = "second", presence.LineInCall
	})
	require.Nil(t, s.judgeTeams(second), "a call on any phone is a cause")
	require.Nil(t, s.judgePhone(second, &second.phones[0]), "and none for the other phone")
}

// Whatever PBXs there are, everybody has a phone, and somebody has one on each and on all.
func TestPeopleOnEitherOrBoth(t *testing.T) {
	for n := 1; n <= 4; n++ {
		ways := map[int]bool{}
		for i := range 60 {
			way := 0
			for j := range n {
				if hasPhone(i, j, n) {
					way |= 1 << j
				}
			}
			require.NotZero(t, way, "person %d of %d PBXs", i, n)
			ways[way] = true
		}
		require.Len(t, ways, 1<<n-1, "every way to have phones on %d PBXs", n)
	}
}

func TestPBXFlag(t *testing.T) {
	kinds, err := parsePBXs("micollab, 3cx,micollab")
	require.NoError(t, err)
	require.Equal(t, []string{"micollab", "3cx", "micollab-3"}, pbxNames(kinds))
	require.Equal(t, []string{"main"}, pbxNames([]string{"3cx"}))
	_, err = policy.Parse([]byte(yamlPolicy(pbxNames(kinds), kinds)))
	require.NoError(t, err)
	for _, text := range []string{"", "telegraph", "micollab,,3cx"} {
		_, err = parsePBXs(text)
		require.ErrorContains(t, err, "3cx,micollab,sip", text)
	}
}

// TestPBXsOfDifferentTypes: one account, people on one of them or more, ends in agreement on every phone.
func TestPBXsOfDifferentTypes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	err := Run(t.Context(), Config{
		PBX: "micollab,3cx,sip", Members: 60, Duration: 4 * time.Second, Seed: 4, Faults: "some", Rate: 10, Report: file, Out: &out,
	})
	require.NoError(t, err, out.String())
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var got report
	require.NoError(t, json.Unmarshal(data, &got))
	require.True(t, got.Converged)
	require.Positive(t, got.WritesToPBX)
	require.Positive(t, got.WritesToTeams)
}

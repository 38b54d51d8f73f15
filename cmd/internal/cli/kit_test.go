package cli

import (
	"bytes"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/graph/graphsim"
)

// childVariable makes the test binary the program itself.
const childVariable = "TEST_AS_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// run carries a command out in this process.
func run(t *testing.T, args ...string) result { t.Helper(); return runWith(t, "", args...) }

func runWith(t *testing.T, in string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := Main(args, strings.NewReader(in), &out, &errOut)
	return result{code, out.String(), errOut.String()}
}

// good runs a command that must succeed, and returns what it printed.
func good(t *testing.T, args ...string) string {
	t.Helper()
	r := run(t, args...)
	require.Zero(t, r.code, "%v: %s%s", args, r.out, r.err)
	return r.out
}

// bad runs a command that must fail with 1, and returns what it said on stderr.
func bad(t *testing.T, args ...string) string {
	t.Helper()
	r := run(t, args...)
	require.Equal(t, 1, r.code, "%v: %s%s", args, r.out, r.err)
	return r.err
}

// output is what a child printed; it may be read while the child runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// child is the program in a process of its own.
type child struct {
	cmd      *exec.Cmd
	out, err output
	ended    chan struct{}
}

func start(t *testing.T, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	c := &child{cmd: exec.CommandContext(t.Context(), self, args...), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childVariable+"=1")
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.err
	require.NoError(t, c.cmd.Start())
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // the exit status says it
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended
		<-c.ended
	})
	return c
}

// says waits until the child has printed a text.
func (c *child) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(c.out.String()+c.err.String(), text) || c.over() }, text)
	require.Contains(t, c.out.String()+c.err.String(), text)
}

func (c *child) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// terminate asks the child to end, as systemd does, and returns its exit status.
func (c *child) terminate(t *testing.T) int {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
	return c.wait(t)
}

func (c *child) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.ended:
	case <-time.After(2 * time.Minute):
		require.Fail(t, "the child does not end", "%s%s", c.out.String(), c.err.String())
	}
	return c.cmd.ProcessState.ExitCode()
}

// contains tells whether a text holds all parts.
func contains(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, 2*time.Minute, 20*time.Millisecond, what)
}

// lastPort goes through the ports below those that the system gives away by itself. It begins anywhere, so that the tests of
// another package are elsewhere, and no port is given twice.
var lastPort atomic.Uint32

func nextPort() uint32 {
	lastPort.CompareAndSwap(0, 1+mrand.Uint32N(20_000))
	return 10_000 + lastPort.Add(1)%20_000
}

// freeAddress is one that nothing listens on, and that nobody else is given.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", nextPort()))
		if err == nil {
			require.NoError(t, ln.Close())
			return ln.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// site is a simulated customer in this process, so that tests can decide what people do.
type site struct {
	name  string
	graph *graphsim.Sim
	pbx   *pbxsim.Sim
}

func newSite(t *testing.T, name string, people int, seed uint64, with ...func(*graphsim.Config)) *site {
	t.Helper()
	s := &site{name: name}
	cfg := graphsim.Config{
		Domain: name + ".example", Users: people, Monitors: []string{s.monitor()}, Seed: seed, DeviceInterval: time.Second,
		Delivery: graphsim.Delivery{AllowHTTP: true},
	}
	for _, edit := range with {
		edit(&cfg)
	}
	var err error
	s.graph, err = graphsim.Start(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.graph.Close()) })
	var phones []pbxsim.User
	for i, u := range s.graph.Users() {
		phones = append(phones, pbxsim.User{ID: fmt.Sprintf("u%d", i), Email: u.Mail, Extension: fmt.Sprint(1000 + i), DisplayName: u.DisplayName})
	}
	s.pbx, err = pbxsim.Start(pbxsim.Config{UserList: phones})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.pbx.Close()) })
	return s
}

func (s *site) monitor() string { return "presence1@" + s.name + ".example" }

// upn is the address of the person with the i-th phone.
func (s *site) upn(i int) string { return s.pbx.Users()[i].Email }

func (s *site) yaml(t *testing.T, dir string) string {
	t.Helper()
	file := func(name, text string) string { return write(t, filepath.Join(dir, s.name, name), text) }
	return fmt.Sprintf(`
  - name: %s
    graph:
      tenant_id: %s
      client_id: %s
      client_secret_file: %s
      endpoints: {login: %s, graph: %s, ca_file: %s}
    monitors: [{upn: %s}]
    pbx: [{name: main, type: micollab, url: %s, token_file: %s}]
    sweep: {interval: 2s, polled_interval: 1s}
    teams: {settle: 500ms}
`, s.name, s.graph.TenantID, s.graph.ClientID, file("secret", s.graph.ClientSecret), s.graph.LoginURL(), s.graph.GraphURL(),
		file("ca.pem", string(s.graph.CAPEM())), s.monitor(), s.pbx.URL(), file("token", s.pbx.Token()))
}

// head is the part of a configuration that is not about accounts. The folder is where the data go.
func head(t *testing.T, dir string) string {
	t.Helper()
	hook := freeAddress(t)
	return fmt.Sprintf("listen: {webhook: %q, admin: %q}\npublic_url: http://%s\ndata_dir: %s\nnats: {min_free: 0}\n",
		hook, freeAddress(t), hook, filepath.Join(dir, "data"))
}

// serving runs the bridge for some sites in a process of its own, and returns its configuration file.
func serving(t *testing.T, sites ...*site) (file string, c *child) {
	t.Helper()
	dir := t.TempDir()
	text := head(t, dir) + "accounts:"
	for _, s := range sites {
		text += s.yaml(t, dir)
	}
	file = write(t, filepath.Join(dir, "bridge.yaml"), text)
	c = start(t, "serve", "--config", file)
	c.says(t, "presence-bridge is running")
	return file, c
}

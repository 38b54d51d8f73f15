package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

	"presencebridge/bridge/bus"
)

// process is a child of the test, and what it wrote.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}

	mu    sync.Mutex
	lines []line
}

type line struct {
	at   time.Time
	text string
}

// start starts this test's own binary as something else.
func start(t *testing.T, name, plays string, args ...string) *process {
	t.Helper()
	p := &process{name: name, done: make(chan struct{})}
	p.cmd = exec.CommandContext(context.Background(), os.Args[0], args...)
	p.cmd.Env = append(os.Environ(), playEnv+"="+plays)
	out, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.read(out)
		_ = p.cmd.Wait() // how it ended is seen in ProcessState
	}()
	t.Cleanup(func() {
		p.signal(syscall.SIGCONT)
		p.signal(syscall.SIGKILL)
		<-p.done
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.said())
		}
	})
	return p
}

func (p *process) read(out io.Reader) {
	for sc := bufio.NewScanner(out); sc.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, line{time.Now(), sc.Text()})
		p.mu.Unlock()
	}
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill ends it like a machine that lost its power.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, l := range p.lines {
		fmt.Fprintln(&b, l.at.Format("15:04:05.000"), l.text)
	}
	return b.String()
}

// heard lists the lines that hold all of some texts.
func (p *process) heard(texts ...string) []line {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []line
next:
	for _, l := range p.lines {
		for _, text := range texts {
			if !strings.Contains(l.text, text) {
				continue next
			}
		}
		out = append(out, l)
	}
	return out
}

// What a replica writes when it begins and ends to run an account.
const (
	saysRuns  = "this replica runs the account"
	saysEnded = "this replica gives the account up"
)

// runs tells whether the replica believes that it runs the account.
func (p *process) runs(account string) bool {
	a := "account=" + account
	return len(p.heard(saysRuns, a)) > len(p.heard(saysEnded, a))
}

// natsCluster is three NATS servers.
type natsCluster struct {
	nodes   []node
	running []*process
}

func startCluster(t *testing.T) *natsCluster {
	t.Helper()
	c := &natsCluster{}
	dir := t.TempDir()
	for i := range 3 {
		c.nodes = append(c.nodes, node{Name: fmt.Sprintf("n%d", i), Dir: filepath.Join(dir, fmt.Sprint(i)), Port: freePort(t), Routes: freePort(t)})
	}
	for i := range c.nodes {
		for j := range c.nodes {
			if i != j {
				c.nodes[i].Peers = append(c.nodes[i].Peers, fmt.Sprintf("nats://127.0.0.1:%d", c.nodes[j].Routes))
			}
		}
		c.running = append(c.running, nil)
	}
	for i := range c.nodes {
		c.run(t, i)
	}
	// The first start makes the streams, with three copies each.
	eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a question that was asked before there was a leader is not answered
		defer cancel()
		b, err := bus.Open(ctx, bus.Config{URL: c.url(), MaxStore: 256 << 20})
		if err != nil {
			return false
		}
		return b.Close(ctx) == nil && c.healthy(t)
	}, "the cluster has all streams on all servers")
	return c
}

// run starts a server, which finds what it stored before.
func (c *natsCluster) run(t *testing.T, i int) {
	t.Helper()
	args, err := json.Marshal(c.nodes[i])
	require.NoError(t, err)
	c.running[i] = start(t, c.nodes[i].Name, "nats", string(args))
}

func (c *natsCluster) url() string {
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", n.Port))
	}
	return strings.Join(urls, ",")
}

// healthy tells whether every stream has three copies that are up to date.
func (c *natsCluster) healthy(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	in, err := bus.Inspect(ctx, bus.Config{URL: c.url()})
	if err != nil || len(in.Missing) > 0 {
		return false
	}
	for _, s := range in.Streams {
		if s.Replicas != 3 || s.Current != 3 {
			return false
		}
	}
	return true
}

func freePort(t *testing.T) int {
	t.Helper()
	ln := listen(t)
	defer func() { require.NoError(t, ln.Close()) }()
	return ln.Addr().(*net.TCPAddr).Port
}

// lastPort goes through the ports below those that the system gives away by itself. It begins anywhere, so that the tests of
// another package are elsewhere, and no port is given twice.
var lastPort atomic.Uint32

func nextPort() uint32 {
	lastPort.CompareAndSwap(0, 1+mrand.Uint32N(20_000))
	return 10_000 + lastPort.Add(1)%20_000
}

// listen takes a port that can be closed and used by another process.
func listen(t *testing.T) net.Listener {
	t.Helper()
	for range 1000 {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprint("127.0.0.1:", nextPort()))
		if err == nil {
			return ln
		}
	}
	t.Fatal("no port is free")
	return nil
}

func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	require.Eventually(t, cond, 3*time.Minute, 20*time.Millisecond, what)
}

// proxy is a way to a server that can be cut: then nothing comes through, and nobody is told.
type proxy struct {
	ln net.Listener
	to string

	mu    sync.Mutex
	open  *sync.Cond
	cut   bool
	ended bool
	wg    sync.WaitGroup
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{ln: listen(t), to: to}
	p.open = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.mu.Lock()
		p.ended = true
		p.open.Broadcast()
		p.mu.Unlock()
		require.NoError(t, p.ln.Close())
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.ln.Addr().String() }

func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	p.open.Broadcast()
}

// pass waits until something may come through; false: never again.
func (p *proxy) pass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.cut && !p.ended {
		p.open.Wait()
	}
	return !p.ended
}

func (p *proxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer in.Close()
			if !p.pass() {
				return
			}
			out, err := net.Dial("tcp", p.to)
			if err != nil {
				return
			}
			defer out.Close()
			var both sync.WaitGroup
			both.Go(func() { p.copy(in, out); _ = in.Close(); _ = out.Close() })
			both.Go(func() { p.copy(out, in); _ = in.Close(); _ = out.Close() })
			both.Wait()
		})
	}
}

func (p *proxy) copy(to io.Writer, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		if err := from.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return
		}
		n, err := from.Read(buf)
		if n > 0 {
			if !p.pass() {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		p.mu.Lock()
		ended := p.ended
		p.mu.Unlock()
		if ended {
			return
		}
	}
}

// address is where a server listens.
func (c *natsCluster) address(i int) string { return fmt.Sprintf("127.0.0.1:%d", c.nodes[i].Port) }

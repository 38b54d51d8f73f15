// Package kamailio runs a real Kamailio for tests: a presence server of its own for each test, on loopback with free
// ports, with phones that publish what they do, and a proxy in front that loses, holds and repeats what the test says.
//
// It shares no code with the connector: what it says and understands is written from the RFCs for itself.
package kamailio

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// The credentials that every server begins with.
const (
	Domain   = "pbx.example.com"
	Username = "bridge"
	Password = "a secret of the tests"
)

// startLimit is how long a server may take to start on a busy machine.
const startLimit = 60 * time.Second

// Options of a server.
type Options struct {
	// TLS listens for TLS as well, with a certificate for 127.0.0.1 ([Server.CAFile]).
	TLS bool
	// NoDialog leaves the dialog package out: subscriptions to it are answered with 489.
	NoDialog bool
	// Memory in MiB. Default 64.
	Memory int
	// MinExpires of subscriptions; shorter ones are answered with 423. Default none.
	MinExpires int
}

// Server is a running Kamailio.
type Server struct {
	// Port takes UDP and TCP, TLSPort TLS, both with digest authentication; phones come to another one without.
	Port, TLSPort int
	// CAFile is the authority that certifies the server.
	CAFile string

	t       testing.TB
	o       Options
	dir     string
	phones  int // port
	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{}
	log     *os.File
}

// Start starts a server and ends it with the test. Where Kamailio is not installed the test is skipped, or fails when
// the environment variable CI is true.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	for _, program := range []string{"kamailio", "sqlite3"} {
		if _, err := exec.LookPath(program); err != nil {
			Missing(t, program)
		}
	}
	s := &Server{t: t, o: o, dir: folder(t)}
	s.Port, s.phones = freePort(t), freePort(t)
	if o.TLS {
		s.TLSPort = freePort(t)
		s.certify()
	}
	s.database()
	s.configure()
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// folder is one in memory where there is one: SQLite gives a lock up after half a second, which a busy disk can take.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kamailio") //nolint:usetesting // in memory
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Missing skips a test for a program that is not installed, visibly; in CI it fails the test.
func Missing(t testing.TB, program string) {
	t.Helper()
	text := program + " is not installed (Debian: kamailio kamailio-presence-modules kamailio-sqlite-modules kamailio-tls-modules sqlite3 sip-tester)"
	if os.Getenv("CI") == "true" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// freePort is a port that is free for UDP and TCP.
func freePort(t testing.TB) int {
	t.Helper()
	var listening net.ListenConfig
	for range 50 {
		tcp, err := listening.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		udp, err := listening.ListenPacket(t.Context(), "udp", tcp.Addr().String())
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			n, _ := strconv.Atoi(port) // as the system says it
			return n
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// database makes an empty one.
func (s *Server) database() {
	var schema bytes.Buffer
	for _, name := range []string{"standard", "presence"} {
		sql, err := os.ReadFile("/usr/share/kamailio/db_sqlite/" + name + "-create.sql")
		if err != nil {
			s.t.Fatal(err)
		}
		schema.Write(sql)
	}
	schema.WriteString("PRAGMA journal_mode=WAL;\n")
	_ = os.Remove(s.path("kamailio.db"))
	cmd := exec.Command("sqlite3", s.path("kamailio.db")) //nolint:gosec,noctx // a folder of the test's own
	cmd.Stdin = &schema
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("make the database: %v: %s", err, out)
	}
}

func (s *Server) configure() {
	var b bytes.Buffer
	err := template.Must(template.New("").Parse(configuration)).Execute(&b, map[string]any{
		"Port": s.Port, "Phones": s.phones, "TLSPort": s.TLSPort, "Dir": s.dir, "Dialog": !s.o.NoDialog, "Domain": Domain, "Password": Password, "MinExpires": s.o.MinExpires, "Max": max(3600, s.o.MinExpires),
	})
	if err == nil {
		err = os.WriteFile(s.path("kamailio.cfg"), b.Bytes(), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Run starts the server on the ports that it has. It is called by Start, and after Kill.
func (s *Server) Run() {
	s.t.Helper()
	memory := s.o.Memory
	if memory == 0 {
		memory = 64
	}
	log, err := os.OpenFile(s.path("kamailio.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("kamailio", "-DD", "-E", "-f", s.path("kamailio.cfg"), "-m", fmt.Sprint(memory), "-M", "8", "-Y", s.dir, "-w", s.dir) //nolint:gosec,noctx // it ends with the test
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // ends with the process, for which Kill waits
		defer close(ended)
		_ = cmd.Wait()
	}()
	s.mu.Lock()
	s.process, s.ended, s.log = cmd, ended, log
	s.mu.Unlock()
	s.await(ended)
}

// await waits until the server answers.
func (s *Server) await(ended <-chan struct{}) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for ctx.Err() == nil {
		select {
		case <-ended:
			s.t.Fatalf("kamailio does not start:\n%s", s.Log())
		default:
		}
		p := s.phone("ping")
		if code, err := p.try(ctx, "OPTIONS", nil, "", ""); err == nil && code == 200 {
			return
		}
	}
	s.t.Fatalf("kamailio does not answer:\n%s", s.Log())
}

// Kill ends the server as a crash does: all its processes, at once.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd, ended, log := s.process, s.ended, s.log
	s.process = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group that Run made
	<-ended
	_ = log.Close()
}

// Restart kills the server and starts it again, with or without what was published.
func (s *Server) Restart(loseState bool) {
	s.Kill()
	if loseState {
		s.database()
	}
	s.Run()
}

// Log is what the server wrote last.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.path("kamailio.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// Set changes one of the server's settings: password; mode (ok, an error code, or silent); wait (seconds of
// Retry-After); realm changes what nonces are made with.
func (s *Server) Set(key, value string) { s.rpc("htable.sets", "set", key, value) }

// Stats is how many subscriptions the server knows.
func (s *Server) Stats() string { return s.rpc("presence.presentity_list") }

func (s *Server) rpc(method string, params ...any) string {
	s.t.Helper()
	if params == nil {
		params = []any{}
	}
	ask, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "method": method, "params": params, "id": 1})
	if err != nil {
		s.t.Fatal(err)
	}
	own := s.path(fmt.Sprintf("rpc%d", time.Now().UnixNano()))
	conn, err := net.DialUnix("unixgram", &net.UnixAddr{Name: own, Net: "unixgram"}, &net.UnixAddr{Name: s.path("rpc"), Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = conn.Close(); _ = os.Remove(own) }()
	_ = conn.SetDeadline(time.Now().Add(startLimit))
	buf := make([]byte, 1<<16)
	if _, err := conn.Write(ask); err != nil {
		s.t.Fatal(err)
	}
	n, err := conn.Read(buf)
	if err != nil {
		s.t.Fatalf("rpc %s: %v", method, err)
	}
	if bytes.Contains(buf[:n], []byte(`"error"`)) {
		s.t.Fatalf("rpc %s: %s", method, buf[:n])
	}
	return string(buf[:n])
}

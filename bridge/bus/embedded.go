package bus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// embeddedMaxPayload lets a body of 8 MiB through, with room for its headers.
	embeddedMaxPayload = 9 << 20
	// embeddedMaxMemory bounds what is kept in memory only: the bucket of replicas.
	embeddedMaxMemory = 64 << 20
	serverReadyWait   = 30 * time.Second
)

// embedded is a NATS server inside the process. Nothing listens: connections are pipes.
type embedded struct {
	dir  string
	sync Sync
	max  int64
	log  *slog.Logger

	mu     sync.Mutex
	server *server.Server // nil while stopped
}

func (e *embedded) options() *server.Options {
	return &server.Options{
		ServerName:         "presence-bridge",
		DontListen:         true,
		NoSigs:             true,
		MaxPayload:         embeddedMaxPayload,
		JetStream:          true,
		StoreDir:           filepath.Join(e.dir, storeName),
		JetStreamMaxStore:  e.max,
		JetStreamMaxMemory: embeddedMaxMemory,
		SyncAlways:         e.sync == SyncAlways,
		SyncInterval:       time.Duration(e.sync),
	}
}

// start runs a server and checks that it really flushes as it was told to.
func (e *embedded) start(ctx context.Context) error {
	s, err := server.NewServer(e.options())
	if err != nil {
		return fmt.Errorf("embedded nats: %w", err)
	}
	fatal := make(chan string, 1)
	s.SetLoggerV2(serverLog{e.log, fatal}, false, false, false)
	s.Start()
	wait := serverReadyWait
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	select {
	case line := <-fatal: // it gave up, and would never be ready
		err = fmt.Errorf("embedded nats (store %s): %s", filepath.Join(e.dir, storeName), line)
	default:
		err = e.check(s, wait)
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	e.mu.Lock()
	e.server = s
	e.mu.Unlock()
	return nil
}

// check asks the running server itself: an option that did not take effect would only show after
// a power cut.
func (e *embedded) check(s *server.Server, wait time.Duration) error {
	if !s.ReadyForConnections(wait) {
		return fmt.Errorf("embedded nats: not ready after %s (store %s)", wait, filepath.Join(e.dir, storeName))
	}
	varz, err := s.Varz(nil)
	if err != nil {
		return fmt.Errorf("embedded nats: %w", err)
	}
	js := varz.JetStream.Config
	if js == nil {
		return fmt.Errorf("embedded nats: JetStream did not start (store %s); the log says why", filepath.Join(e.dir, storeName))
	}
	if js.SyncAlways != (e.sync == SyncAlways) || (e.sync != SyncAlways && js.SyncInterval != time.Duration(e.sync)) {
		return fmt.Errorf("embedded nats: nats.sync is %s, but the server runs with always %t, interval %s",
			e.sync, js.SyncAlways, js.SyncInterval)
	}
	return nil
}

// stop shuts the server down and waits until it has let go of its files.
func (e *embedded) stop() {
	e.mu.Lock()
	s := e.server
	e.server = nil
	e.mu.Unlock()
	if s == nil {
		return
	}
	s.Shutdown()
	s.WaitForShutdown()
}

// InProcessConn hands the client a pipe to whichever server runs now: that is how the client finds
// the new one after a restart.
func (e *embedded) InProcessConn() (net.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		return nil, fmt.Errorf("%w: the embedded server is stopped", ErrUnavailable)
	}
	return e.server.InProcessConn()
}

// id is the identity of the server that runs now, "" if none does.
func (e *embedded) id() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server == nil {
		return ""
	}
	return e.server.ID()
}

// running tells whether the server is up and JetStream in it is.
func (e *embedded) running() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.server == nil || !e.server.Running():
		return fmt.Errorf("%w: the embedded server is stopped", ErrUnavailable)
	case !e.server.JetStreamEnabled():
		return fmt.Errorf("%w: JetStream is disabled in the embedded server (a full or broken disk does that)", ErrUnavailable)
	}
	return nil
}

// serverLog carries the server's own log lines into ours, and the line with which it gives up.
type serverLog struct {
	log   *slog.Logger
	fatal chan<- string
}

const serverLine = "nats server"

func (l serverLog) Noticef(format string, v ...any) {
	l.log.Debug(serverLine, "line", fmt.Sprintf(format, v...))
}
func (l serverLog) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") {
		return // 9 MiB is meant; the advice is about networks, and this is a pipe
	}
	l.log.Warn(serverLine, "line", fmt.Sprintf(format, v...))
}
func (l serverLog) Errorf(format string, v ...any) {
	l.log.Error(serverLine, "line", fmt.Sprintf(format, v...))
}
func (l serverLog) Fatalf(format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	l.log.Error(serverLine, "line", line, "fatal", true)
	select {
	case l.fatal <- line:
	default:
	}
}
func (l serverLog) Debugf(string, ...any) {}
func (l serverLog) Tracef(string, ...any) {}

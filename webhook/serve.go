package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Time limits of the listener. A body has Config.Deadline on top of these.
const (
	readHeaderTimeout = 5 * time.Second
	writeTimeout      = 15 * time.Second
	idleTimeout       = 2 * time.Minute // Graph keeps its connections
	maxHeaderBytes    = 16 << 10        // the validation token is in the request line
	shutdownGrace     = 5 * time.Second // more than a request may take
)

// Serve accepts connections on ln until ctx ends, then stops accepting, lets the requests that are
// under way finish, and returns nil. It owns ln and every goroutine that it starts: none is left
// when it returns. With certificate files it speaks TLS (at least 1.2).
func (r *Receiver) Serve(ctx context.Context, ln net.Listener) error {
	srv, conns := r.server(ctx), newConnections(r.cfg.MaxConnections, r.metrics.evicted)
	srv.ConnState = conns.track
	if r.certs != nil {
		ln = tls.NewListener(ln, &tls.Config{
			MinVersion:     tls.VersionTLS12, // what Graph speaks: latestSupportedTlsVersion
			GetCertificate: r.certs.get,
			NextProtos:     []string{"http/1.1"},
		})
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		_ = srv.Close()
		return fmt.Errorf("webhook: serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	conns.closeQuiet()
	err := srv.Shutdown(grace)
	if err != nil {
		_ = srv.Close()
	}
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if err != nil {
		return fmt.Errorf("webhook: shutdown: %w", err)
	}
	return nil
}

func (r *Receiver) server(ctx context.Context) *http.Server {
	srv := &http.Server{
		Handler:           r.echo,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readHeaderTimeout + r.cfg.Deadline,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         new(http.Protocols), // HTTP/1.1 is all that Graph needs
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		// What net/http has to say is about strangers' broken handshakes.
		ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelDebug),
	}
	srv.Protocols.SetHTTP1(true)
	return srv
}

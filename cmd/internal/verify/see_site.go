package verify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"presencebridge/bridge/bus"
	"presencebridge/cmd/internal/config"
	"presencebridge/webhook"
)

// site is what was seen of what concerns all accounts.
type site struct {
	opts    Options
	cfg     *config.Config
	now     time.Time
	running running

	public    *url.URL // nil without public_url
	addresses []netip.Addr
	lookupErr error
	shown     []*x509.Certificate // what public_url presents, its own certificate first
	dialErr   error
	files     []*x509.Certificate // of tls.certificate_file
	filesErr  error
	simulated *x509.CertPool // what simulators trust, where nobody else posts to public_url; otherwise nil
	helper    string         // "": this run answers at listen.webhook, in place of the bridge; otherwise why it does not

	taken    bool           // somebody else listens there, so that the bridge could not
	external bus.Inspection // of nats.url
	busErr   error
	free     int64
	used     int64 // by data_dir
	freeErr  error
	store    storeState
}

// storeState is the state of the embedded bus's folder.
type storeState struct {
	exists bool
	owner  error // not nil: this user cannot work there
}

// lookAtSite looks at the bridge's surroundings. The function that it returns ends what was started for looking.
func lookAtSite(ctx context.Context, opts Options) (*site, func()) {
	s := &site{opts: opts, cfg: opts.Config, now: opts.Now()}
	s.simulated = simulatedRoots(s.cfg, opts.Roots)
	s.running = lookForBridge(ctx, s.cfg, min(opts.Timeout, 5*time.Second))
	stop := s.standIn(ctx)
	s.lookAtPublic(ctx)
	if f := s.cfg.TLS.CertificateFile; f != "" {
		s.files, s.filesErr = readCertificates(f)
	}
	s.lookAtBus(ctx)
	return s, stop
}

// lookAtPublic resolves public_url and looks at the certificate that is presented there.
func (s *site) lookAtPublic(ctx context.Context) {
	if s.cfg.PublicURL == "" {
		return
	}
	u, err := url.Parse(s.cfg.PublicURL)
	if err != nil {
		s.lookupErr = err
		return
	}
	s.public = u
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		s.addresses = []netip.Addr{ip}
	} else if s.addresses, s.lookupErr = s.opts.Resolve(ctx, u.Hostname()); s.lookupErr != nil {
		return
	}
	if u.Scheme == "https" {
		s.shown, s.dialErr = presented(ctx, u)
	}
}

// presented is the chain that a server shows, whether or not it can be trusted.
func presented(ctx context.Context, u *url.URL) ([]*x509.Certificate, error) {
	port := u.Port()
	if port == "" {
		port = "443"
	}
	dialer := tls.Dialer{Config: &tls.Config{
		ServerName: u.Hostname(), MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // nothing is sent; the chain is judged afterwards, to say what is wrong with it
	}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	secured, isTLS := conn.(*tls.Conn)
	if !isTLS {
		return nil, errors.New("no TLS connection")
	}
	return secured.ConnectionState().PeerCertificates, nil
}

// readCertificates reads the certificates of a PEM file.
func readCertificates(file string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return out, nil
}

// noStore takes nothing.
type noStore struct{}

// StoreNotification implements [webhook.Store].
func (noStore) StoreNotification(context.Context, string, []byte, time.Time, string) error {
	return errors.New("verify stores nothing")
}

// standIn answers the validation handshake at listen.webhook while no bridge does, so that the way from public_url to
// this machine can be tried before the first start. Everything else is told to come again: a notification must not
// be answered by somebody who cannot keep it.
func (s *site) standIn(ctx context.Context) (stop func()) {
	nothing := func() {}
	switch {
	case s.running.found || s.running.locked:
		s.helper = "the bridge itself answers"
		return nothing
	case s.cfg.PublicURL == "":
		s.helper = "there is no public_url"
		return nothing
	}
	key := make([]byte, webhook.KeySize)
	if _, err := rand.Read(key); err != nil {
		s.helper = err.Error()
		return nothing
	}
	receiver, err := webhook.New(webhook.Config{Accounts: names(s.cfg), Key: key, Store: noStore{}})
	if err != nil {
		s.helper = err.Error()
		return nothing
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen.Webhook)
	if err != nil {
		s.helper, s.taken = err.Error(), errors.Is(err, syscall.EADDRINUSE)
		return nothing
	}
	if t := s.cfg.TLS; t.CertificateFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertificateFile, t.KeyFile)
		if err != nil {
			s.helper = errors.Join(err, ln.Close()).Error()
			return nothing
		}
		ln = tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	}
	return serveHandshakes(ln, receiver.Handler())
}

// serveHandshakes serves until the function that it returns is called.
func serveHandshakes(ln net.Listener, handshake http.Handler) (stop func()) {
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("validationToken") {
			handshake.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // always ends with an error, at the latest when it is closed
	}()
	return func() {
		_ = srv.Close() // whoever is being answered asks again
		<-done
	}
}

// lookAtBus looks at the bus without changing it. An embedded one is not opened: that would leave the mark of a clean
// stop behind, after which the bridge does not read both sides in full, as it must after a crash.
func (s *site) lookAtBus(ctx context.Context) {
	n := s.cfg.NATS
	if n.URL != "" {
		ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
		defer cancel()
		s.external, s.busErr = bus.Inspect(ctx, bus.Config{
			URL: n.URL, CredentialsFile: n.CredentialsFile, CAFile: n.CAFile, MaxStore: int64(n.MaxStore), History: s.cfg.History, Log: s.opts.Log,
		})
		return
	}
	dir, exists := existing(s.cfg.DataDir)
	s.store.exists = exists
	s.free, s.freeErr = s.opts.FreeSpace(dir)
	s.store.owner = tryWriting(dir, exists)
	if exists {
		s.used = sizeOf(dir)
	}
}

// sizeOf adds up the files of a folder, as far as they can be seen.
func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that has just gone, or may not be seen, is left out
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return nil
	})
	return n
}

// existing is a folder, or the nearest one above it that exists.
func existing(dir string) (string, bool) {
	for at := dir; ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && info.IsDir() {
			return at, at == dir
		}
		if at == filepath.Dir(at) {
			return at, false
		}
	}
}

func freeSpace(dir string) (int64, error) { return bus.FreeSpace(dir) }

package webhook

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// certificateCheck is how often, at most, the files are looked at: on a handshake, so that it takes no
// goroutine.
const certificateCheck = time.Second

// certificates serves the certificate of two files and reads them again when they have changed. A
// pair that does not fit, as in the moment between the two being replaced, leaves the old one in use.
type certificates struct {
	certFile, keyFile string
	log               *slog.Logger
	expiry            prometheus.Gauge
	now               func() time.Time

	mu      sync.Mutex // guards what follows
	cert    *tls.Certificate
	stamp   [2]fileStamp // of the files that were last tried
	checked time.Time
}

// fileStamp tells whether a file is still the one it was. A renewal that replaces a symbolic link
// (Kubernetes, certbot) shows as well.
type fileStamp struct {
	modified time.Time
	size     int64
}

func newCertificates(certFile, keyFile string, log *slog.Logger, expiry prometheus.Gauge) (*certificates, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile, log: log, expiry: expiry, now: time.Now}
	c.stamp = c.stamps()
	if err := c.load(); err != nil {
		return nil, err
	}
	c.checked = c.now()
	return c, nil
}

// get is tls.Config.GetCertificate.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		if stamp := c.stamps(); stamp != c.stamp {
			c.stamp = stamp
			c.reload()
		}
	}
	return c.cert, nil
}

func (c *certificates) reload() {
	if err := c.load(); err != nil {
		c.log.Error("certificate not reloaded, the old one stays in use", "error", err)
		return
	}
	c.log.Info("certificate reloaded", "file", c.certFile, "not_after", c.cert.Leaf.NotAfter)
}

func (c *certificates) load() error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("webhook: tls.certificate_file %s with tls.key_file %s: %w", c.certFile, c.keyFile, err)
	}
	c.cert = &cert
	c.expiry.Set(float64(cert.Leaf.NotAfter.Unix()))
	return nil
}

func (c *certificates) stamps() (s [2]fileStamp) {
	for i, file := range [2]string{c.certFile, c.keyFile} {
		if info, err := os.Stat(file); err == nil {
			s[i] = fileStamp{info.ModTime(), info.Size()}
		}
	}
	return s
}

package verify

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// certificateSoon is how long before its end a server's certificate is worth a remark: what renews itself does so a
// month ahead.
const certificateSoon = 14 * 24 * time.Hour

// checkPublicAddress says where public_url leads.
func checkPublicAddress(s *site) []Check {
	const name = "public_address"
	switch {
	case s.cfg.PublicURL == "":
		return []Check{skipped(name, "", "there is no public_url: without monitors Graph posts nothing")}
	case s.lookupErr != nil:
		return []Check{failed(name, "", "enter the name in a public DNS zone, or correct public_url", "%s cannot be resolved: %v", s.cfg.PublicURL, s.lookupErr)}
	case len(s.addresses) == 0:
		return []Check{failed(name, "", "enter an address for the name in a public DNS zone", "%s has no address", s.public.Hostname())}
	}
	var texts []string
	private, loop := 0, 0
	for _, a := range s.addresses {
		a = a.Unmap()
		texts = append(texts, a.String())
		switch {
		case a.IsLoopback():
			loop++
		case notPublic(a):
			private++
		}
	}
	at := s.public.Hostname() + " is at " + strings.Join(texts, ", ")
	if ip, err := netip.ParseAddr(s.public.Hostname()); err == nil {
		at = "the address " + ip.String() + " is used"
	}
	switch {
	case loop == len(s.addresses):
		return []Check{warning(name, "", "for a real tenant, give a name that the internet can resolve", "%s, this machine: only simulators can post there", at)}
	case private+loop == len(s.addresses):
		return []Check{warning(name, "", "make sure that the internet resolves the name to a public address", "%s, which Graph cannot reach; from the internet the name may lead elsewhere", at)}
	}
	return []Check{ok(name, "", "%s", at)}
}

// notPublic tells whether an address is reachable within a private network only.
func notPublic(a netip.Addr) bool {
	shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified() || shared.Contains(a)
}

// checkPublicCertificate judges what public_url presents as Graph would: with the public authorities alone, and
// without fetching what is missing in the chain.
func checkPublicCertificate(s *site) []Check {
	const name = "public_certificate"
	switch {
	case s.public == nil:
		return []Check{skipped(name, "", "there is no public_url")}
	case s.public.Scheme != "https":
		return []Check{warning(name, "", "for a real tenant, use https://", "public_url is plain HTTP, which only simulators post to")}
	case s.lookupErr != nil:
		return []Check{skipped(name, "", "public_url cannot be resolved")}
	case s.dialErr != nil:
		return []Check{s.unanswered(failed(name, "", "let connections from the internet through to listen.webhook, and have TLS 1.2 or later spoken there",
			"no TLS connection to %s: %v", s.public.Host, s.dialErr))}
	}
	if err := verifyChain(s.shown, s.public.Hostname(), s.opts.Roots, s.now); err != nil {
		if s.trustedBySimulators(s.shown, s.public.Hostname()) {
			return onlySimulators(name, s.shown[0])
		}
		text, remedy := chainProblem(err)
		return []Check{failed(name, "", remedy, "%s: %s", describeCertificate(s.shown[0]), text)}
	}
	return []Check{expiring(name, s.shown[0], s.now, "its chain is complete and trusted")}
}

// checkCertificateFiles judges tls.certificate_file.
func checkCertificateFiles(s *site) []Check {
	const name = "certificate_file"
	switch {
	case s.cfg.TLS.CertificateFile == "":
		return []Check{skipped(name, "", "there is no tls.certificate_file: a proxy in front ends TLS")}
	case s.filesErr != nil:
		return []Check{failed(name, "", "give a PEM certificate chain, leaf first", "%v", s.filesErr)}
	}
	leaf := s.files[0]
	host := leaf.Subject.CommonName
	if len(leaf.DNSNames) > 0 {
		host = leaf.DNSNames[0]
	}
	if s.public != nil {
		host = s.public.Hostname()
	}
	if err := verifyChain(s.files, host, s.opts.Roots, s.now); err != nil {
		if s.trustedBySimulators(s.files, host) {
			return onlySimulators(name, leaf)
		}
		text, remedy := chainProblem(err)
		return []Check{failed(name, "", remedy, "%s: %s", describeCertificate(leaf), text)}
	}
	if len(s.shown) > 0 && !s.shown[0].Equal(leaf) {
		return []Check{warning(name, "", "if no proxy is meant to end TLS in front of the bridge, find out what answers at public_url",
			"public_url presents another certificate than this file: %s", describeCertificate(s.shown[0]))}
	}
	return []Check{expiring(name, leaf, s.now, "the file holds a complete chain")}
}

func describeCertificate(c *x509.Certificate) string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = []string{c.Subject.String()}
	}
	return "the certificate for " + strings.Join(names, ", ")
}

// verifyChain verifies a chain that a server presents, its own certificate first.
func verifyChain(chain []*x509.Certificate, host string, roots *x509.CertPool, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("no certificate is presented")
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: intermediates, CurrentTime: now})
	return err
}

// chainProblem words what is wrong with a chain.
func chainProblem(err error) (text, remedy string) {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired or is not valid yet", "renew the certificate, and check this machine's clock"
	case errors.As(err, &name):
		return "it is not for the host of public_url", "use a certificate for the host of public_url, or correct public_url"
	case errors.As(err, &unknown):
		return "no authority that everybody trusts signed it, or the chain is incomplete",
			"use a certificate of a public authority, and put the intermediate certificates after it into the file"
	}
	return err.Error(), "use a certificate of a public authority with its chain"
}

// expiring judges when a certificate ends.
func expiring(name string, c *x509.Certificate, now time.Time, remark string) Check {
	left := c.NotAfter.Sub(now)
	text := fmt.Sprintf("%s ends on %s, in %s", describeCertificate(c), day(c.NotAfter), days(left))
	if left < certificateSoon {
		return warning(name, "", "renew it, or find out why it has not renewed itself", "%s", text)
	}
	return ok(name, "", "%s; %s", text, remark)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

// days is a length of time for people to read.
func days(d time.Duration) string {
	switch n := int(d.Hours() / 24); {
	case d < 0:
		return "the past"
	case n == 1:
		return "1 day"
	case n == 0:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", n)
	}
}

// unanswered makes of a failure to be answered at public_url what it is worth: nothing is known to be wrong as long as
// nobody is there who could answer.
func (s *site) unanswered(c Check) Check {
	if s.helper == "" || s.running.found || s.running.locked {
		return c
	}
	c.Evidence += " (the bridge is not running, and verify cannot answer in its place: " + s.helper + ")"
	if !s.taken {
		c.Result, c.Remedy = Warning, "start the bridge, and run verify again; then: "+c.Remedy
	}
	return c
}

// Package link is what connectors share about the link to their PBX: its state as people see it, debounced, and the
// ordinary troubles of networks in words.
package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// Problem is why a PBX is not watched, for people. Nothing in it may come from the PBX or from a file.
type Problem struct {
	Code   string // stable, snake_case
	Text   string // a sentence
	Remedy string // what a person can do; empty if nothing
	Person bool   // it will not mend itself
}

// OfNetwork explains an error of the network, of name resolution or of TLS, and tells whether it is one.
func OfNetwork(err error) (Problem, bool) {
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case isTrustError(err):
		return Problem{
			"tls_untrusted", "The PBX's certificate is not trusted.",
			"Check that url has the host name of the certificate, that the certificate is valid today, and that ca_file holds the authority that issued it.", true,
		}, true
	case errors.As(err, &dns):
		return Problem{"name_not_found", "The PBX's host name cannot be resolved.", "Check the host in url, and the name service.", false}, true
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return Problem{"timed_out", "The PBX does not answer in time.", "Check that the PBX is well, and that the network lets the bridge reach it.", false}, true
	case errors.As(err, &op) && op.Op == "dial":
		return Problem{
			"unreachable", "The PBX cannot be reached.",
			"Check host and port in url, that the PBX runs, and that the network lets the bridge reach it.", false,
		}, true
	}
	return Problem{}, false
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func isTrustError(err error) bool {
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid)
}

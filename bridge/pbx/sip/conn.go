package sip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"presencebridge/bridge/pbx"
)

// problem is why a watch is not connected.
type problem struct {
	code, text, remedy string
	person             bool // will not mend itself
}

// explain puts an error into words for people. Nothing in them comes from the PBX or from a file.
func explain(err error) problem {
	var se *statusError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.Is(err, errPassword):
		return problem{"password_unreadable", "The password for the PBX cannot be read.",
			"Check that password_file exists, that the bridge may read it, and that it holds the password and nothing else.", true}
	case errors.Is(err, errChallenge):
		return problem{"authentication_unknown", "The PBX asks for an authentication that the bridge does not know.",
			"Let the PBX ask for digest authentication with MD5 or SHA-256.", true}
	case errors.As(err, &se):
		return explainStatus(se)
	case errors.Is(err, errNoNotice):
		return problem{"no_notification", "The PBX accepts subscriptions but sends no notifications.",
			"Look for a firewall between the PBX and the bridge, or use tcp or tls in url: notifications then come on the bridge's own connection.", false}
	case errors.Is(err, errOldDocument):
		return problem{"old_document", "A document of the bridge's from before still stands.", "It ends by itself with its lease.", false}
	case isTrustError(err):
		return problem{"tls_untrusted", "The PBX's certificate is not trusted.",
			"Check that url has the host name of the certificate, that the certificate is valid today, and that ca_file holds the authority that issued it.", true}
	case errors.As(err, &dns):
		return problem{"name_not_found", "The PBX's host name cannot be resolved.", "Check the host in url, and the name service.", false}
	case errors.Is(err, errLost):
		return problem{"connection_lost", "The connection to the PBX was lost.", "", false}
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, sip.ErrTransactionTimeout), isTimeout(err):
		return problem{"timed_out", "The PBX does not answer in time.",
			"Check host, port and transport in url, that the PBX is well, and that the network lets the bridge reach it.", false}
	case errors.As(err, &op) && op.Op == "dial":
		return problem{"unreachable", "The PBX cannot be reached.",
			"Check host, port and transport in url, that the PBX runs, and that the network lets the bridge reach it.", false}
	default:
		return problem{"connection_lost", "The connection to the PBX broke.", "", false}
	}
}

func explainStatus(e *statusError) problem {
	switch {
	case e.code == sip.StatusUnauthorized, e.code == sip.StatusProxyAuthRequired:
		return problem{"unauthorised", fmt.Sprintf("The PBX does not accept user name and password (%d).", e.code),
			"Check username and domain, and put the valid password into password_file; it is read again by itself.", true}
	case e.code == sip.StatusForbidden || e.code == 603:
		return problem{"forbidden", fmt.Sprintf("The PBX knows the bridge's user but does not let it do this (%d).", e.code),
			"Give the user in username the right to subscribe to the presence and dialogs of the extensions, and to publish for them.", true}
	case e.code == sip.StatusNotFound || e.code == sip.StatusGone || e.code == 604:
		return problem{"no_such_extension", fmt.Sprintf("The PBX does not know the extensions (%d).", e.code),
			"Compare the addresses in users_file (or list_uri) and domain with those of the PBX.", true}
	case e.code == 489:
		return problem{"no_event_package", "The PBX has neither the dialog nor the presence event package (489).",
			"Switch BLF (dialog) or presence on in the PBX, or give url the address of its presence server.", true}
	case e.code == sip.StatusMethodNotAllowed || e.code == 501:
		return problem{"no_presence_server", fmt.Sprintf("What answers at url is no presence server (%d).", e.code),
			"Give url the address of the PBX's presence server, and switch on SUBSCRIBE and PUBLISH there.", true}
	case e.code == sip.StatusServiceUnavailable:
		return problem{"throttled", "The PBX asks to wait (503).", "", false}
	case e.code >= 500:
		return problem{"server_error", fmt.Sprintf("The PBX answers with an error of its own (%d).", e.code), "If it lasts, look into the PBX's log.", false}
	default:
		return problem{"refused", fmt.Sprintf("The PBX refuses what the bridge asks for (%d).", e.code),
			"Look into the PBX's log for the reason, and check url, domain and username.", true}
	}
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

// tracker is the state of the watch as people see it: debounced, so that a break that heals at once is
// no news, and a connection that comes and goes does not flicker.
type tracker struct {
	debounce time.Duration

	mu       sync.Mutex
	up       bool
	upSince  time.Time
	downAt   time.Time // of the present, or last, break
	shownUp  bool      // connected was shown when the break came
	okSince  time.Time // what connected shows as Since
	problem  *problem  // of the present, or not yet outlived, break
	begunAt  time.Time
	troubled time.Time // what degraded shows as Since
}

func newTracker(debounce time.Duration) *tracker {
	return &tracker{debounce: debounce, begunAt: time.Now()}
}

// idle says that nobody watches any more: the next watch begins from the beginning.
func (t *tracker) idle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up, t.shownUp, t.problem, t.begunAt = false, false, nil, time.Now()
}

// connected says that the PBX takes our subscriptions.
func (t *tracker) connected() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.up, t.upSince = true, now
	switch {
	case t.problem == nil:
		t.okSince = now
	case t.shownUp && now.Sub(t.downAt) < t.debounce:
		t.problem = nil // nobody was told
	}
}

// failed says that the connection broke, or could not be opened.
func (t *tracker) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.up || t.problem == nil {
		t.shownUp = t.compute(now).State == pbx.ConnConnected
		t.downAt = now
		if t.shownUp || t.problem == nil {
			t.troubled = now
		}
	}
	p := explain(err)
	t.up, t.problem = false, &p
}

func (t *tracker) show() pbx.Connection {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.compute(time.Now())
}

func (t *tracker) compute(now time.Time) pbx.Connection {
	switch {
	case t.up && t.problem == nil:
		return pbx.Connection{State: pbx.ConnConnected, Since: t.okSince}
	case t.up && now.Sub(t.upSince) >= t.debounce:
		t.problem, t.okSince = nil, t.upSince
		return pbx.Connection{State: pbx.ConnConnected, Since: t.okSince}
	case t.problem == nil:
		return pbx.Connection{State: pbx.ConnConnecting, Since: t.begunAt}
	case !t.up && t.shownUp && now.Sub(t.downAt) < t.debounce:
		return pbx.Connection{State: pbx.ConnConnected, Since: t.okSince}
	}
	c := pbx.Connection{State: pbx.ConnDegraded, Since: t.troubled, Code: t.problem.code, Text: t.problem.text, Remedy: t.problem.remedy}
	if t.problem.person && !t.up {
		c.State = pbx.ConnNeedsPerson
	}
	return c
}

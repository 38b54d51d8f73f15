package micollab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"presencebridge/bridge/pbx"
)

var (
	errSilent    = errors.New("the event stream fell silent")
	errEnded     = errors.New("the event stream ended")
	errNotStream = errors.New("the answer is no event stream")
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
	case errors.Is(err, errNoToken):
		return problem{"token_unreadable", "The PBX's token cannot be read.",
			"Check that token_file exists, that the bridge may read it, and that it holds the token and nothing else.", true}
	case errors.Is(err, errSilent):
		return problem{"silent", "The PBX's event stream fell silent.",
			"If it happens again and again, look for a proxy or firewall that holds back or forgets long connections.", false}
	case errors.Is(err, errNotStream):
		return problem{"not_an_event_stream", "The PBX's address answers, but not with an event stream.",
			"Check that url is the address of the endpoint, and that no proxy answers in its place.", true}
	case errors.As(err, &se):
		return explainStatus(se.status)
	case isTrustError(err):
		return problem{"tls_untrusted", "The PBX's certificate is not trusted.",
			"Check that url has the host name of the certificate, that the certificate is valid today, and that ca_file holds the authority that issued it.", true}
	case errors.As(err, &dns):
		return problem{"name_not_found", "The PBX's host name cannot be resolved.", "Check the host in url, and the name service.", false}
	case errors.Is(err, errEnded):
		return problem{"connection_lost", "The PBX ended the event stream.", "", false}
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return problem{"timed_out", "The PBX does not answer in time.", "Check that the PBX is well, and that the network lets the bridge reach it.", false}
	case errors.Is(err, errBadAnswer), errors.Is(err, errTooLong):
		return problem{"bad_answer", "The PBX's answers are not what the endpoint promises.",
			"Check that url is the address of the endpoint; if it is, its adapter is at fault (openapi.yaml describes what is expected).", false}
	case errors.As(err, &op) && op.Op == "dial":
		return problem{"unreachable", "The PBX cannot be reached.", "Check host and port in url, that the PBX runs, and that the network lets the bridge reach it.", false}
	default:
		return problem{"connection_lost", "The connection to the PBX broke.", "", false}
	}
}

func explainStatus(status int) problem {
	switch {
	case status == http.StatusUnauthorized:
		return problem{"unauthorised", "The PBX does not accept the token (401).",
			"Put a valid token into token_file; it is read again by itself.", true}
	case status == http.StatusForbidden:
		return problem{"forbidden", "The PBX accepts the token but not what it is used for (403).",
			"Give the token's client the right to list users, to watch events and to set presence.", true}
	case status == http.StatusTooManyRequests:
		return problem{"throttled", "The PBX asks to wait (429).", "", false}
	case status >= 300 && status < 400:
		return problem{"redirected", fmt.Sprintf("The PBX's address redirects elsewhere (%d).", status),
			"Put the address that it redirects to into url: a token is never sent after a redirect.", true}
	case status >= 500:
		return problem{"server_error", fmt.Sprintf("The PBX answers with an error of its own (%d).", status), "If it lasts, look into the PBX's log.", false}
	default:
		return problem{"wrong_address", fmt.Sprintf("There is no such endpoint at the PBX's address (%d).", status),
			"Check url: it is the address of the endpoint without /v1.", true}
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

// tracker is the state of the watch as people see it: debounced, so that a break that resuming heals is
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

// connected says that the stream is open.
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

// failed says that the stream broke, or could not be opened.
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

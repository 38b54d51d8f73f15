package verify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"presencebridge/bridge/console/client/api"
)

// slowAnswer is what Graph counts as slow (learn:change-notifications-delivery-webhooks).
const slowAnswer = 3 * time.Second

// handshake is Graph's validation of a URL, done from here.
type handshake struct {
	url  string
	took time.Duration
	err  error
}

// shakeHands validates both URLs of an account as Graph does before it makes a subscription
// (learn:change-notifications-delivery-webhooks, "NotificationUrl validation").
func shakeHands(ctx context.Context, s *site, account string) []handshake {
	if s.public == nil || s.lookupErr != nil {
		return nil
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: s.trusted(), MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	out := []handshake{{url: s.cfg.NotificationURL(account)}, {url: s.cfg.LifecycleURL(account)}}
	for i := range out {
		start := time.Now()
		out[i].err = validate(ctx, client, out[i].url)
		out[i].took = time.Since(start)
	}
	return out
}

// validate asks once, for at most Graph's ten seconds.
func validate(ctx context.Context, client *http.Client, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// A sentence with signs that must survive decoding and are no HTML, as Graph's own tokens are.
	token := "Validation: presence-bridge verify + 100% <" + rand.Text() + ">"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"?validationToken="+url.QueryEscape(token), http.NoBody)
	if err != nil {
		return errors.New("the address cannot be used")
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if err != nil {
		return err
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the answer is %s, not 200", resp.Status)
	case kind != "text/plain":
		return fmt.Errorf("the answer is of type %q, not text/plain", kind)
	case string(body) != token:
		return errors.New("the answer does not repeat the validation token")
	}
	return nil
}

// checkReceiver says whether the receiver answers at both public URLs.
func checkReceiver(t *tenant) []Check {
	const name = "receiver"
	s := t.site
	switch {
	case s.public == nil:
		return []Check{skipped(name, "", "there is no public_url")}
	case s.lookupErr != nil:
		return []Check{skipped(name, "", "public_url cannot be resolved")}
	}
	by := "the bridge"
	if s.helper == "" {
		by = "verify, in place of the bridge, which is not running,"
	}
	for _, h := range t.handshakes {
		if h.err != nil {
			return []Check{s.unanswered(failed(name, "", "have public_url lead to listen.webhook of the bridge, with path, query and method as they are",
				"%s: %v", h.url, h.err))}
		}
		if h.took > slowAnswer {
			return []Check{warning(name, "", "find out what makes the way from the internet to the bridge slow",
				"%s answered the validation after %s; Graph counts more than 3 s as slow", h.url, h.took.Round(time.Millisecond))}
		}
	}
	return []Check{ok(name, "", "%s answers the validation at both URLs under %s/graph/%s", by, s.cfg.PublicURL, t.cfg.Name)}
}

// checkGraphReach says whether Graph itself reaches the receiver. The running bridge has it try: Graph makes a subscription
// only after both of its URLs have answered. Where no monitor is free for that, a live subscription is the evidence: it
// was validated when it was made, and what has come through it since was posted by Graph.
func checkGraphReach(t *tenant) []Check {
	const name = "graph_reach"
	if t.clientErr == nil && !t.cloud.Subscriptions {
		return []Check{skipped(name, "", "the cloud %s posts no presence", t.cfg.Graph.Cloud)}
	}
	if len(t.upns()) == 0 {
		return []Check{skipped(name, "", "there are no monitors, so Graph posts nothing")}
	}
	const untested = "that Graph itself reaches public_url was not tested"
	if t.monitorsErr != nil {
		return []Check{warning(name, "", "start the bridge, sign a monitor in, and run verify again", "%s: %v", untested, t.monitorsErr)}
	}
	why := t.probed.Text
	if t.probedErr != nil {
		why = t.probedErr.Error()
	}
	switch {
	case t.probedErr == nil && t.probed.State == api.ProbeReached:
		return []Check{ok(name, "", "%s", t.probed.Text)}
	case t.probedErr == nil && t.probed.State == api.ProbeFailed:
		return []Check{failed(name, "", "let the internet reach public_url over HTTPS, with a certificate of a public authority, at both paths under /graph/"+t.cfg.Name+"; see the checks of the receiver and the certificate",
			"Graph tried it just now, for %s, and made no subscription: %s %s", t.probed.UPN, t.probed.Code, t.probed.Text)}
	}
	m := lastHeard(t.monitors, t.site.now)
	switch {
	case m == nil:
		return []Check{warning(name, "", "sign a monitor in, wait a minute, and run verify again: presence-bridge monitors authorize UPN",
			"%s (%s), and no monitor has a subscription, which is what it would be seen by", untested, why)}
	case m.Subscription.HeardAt.IsZero():
		return []Check{ok(name, "", "not tried now (%s); Graph has validated both URLs for the subscription of %s, until %s; nothing was posted through it yet",
			why, m.UPN, clock(m.Subscription.ExpiresAt))}
	}
	return []Check{ok(name, "", "not tried now (%s); Graph has validated both URLs for the subscription of %s and last posted through it at %s",
		why, m.UPN, clock(m.Subscription.HeardAt))}
}

// lastHeard is the monitor with a live subscription that was heard from last.
func lastHeard(monitors []api.Monitor, now time.Time) *api.Monitor {
	var best *api.Monitor
	for i := range monitors {
		m := &monitors[i]
		if m.Subscription == nil || !m.Subscription.ExpiresAt.After(now) {
			continue
		}
		if best == nil || m.Subscription.HeardAt.After(best.Subscription.HeardAt) {
			best = m
		}
	}
	return best
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

package monitors

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Credential is a secret or certificate of the account's application, without anything secret.
type Credential struct {
	Kind    string    `json:"kind"` // secret or certificate
	KeyID   string    `json:"key_id,omitempty"`
	Name    string    `json:"name,omitempty"`
	Expires time.Time `json:"expires"`
	InUse   bool      `json:"in_use"` // it is, or may be, one that the bridge uses
	// ClientID is the application's.
	ClientID string `json:"client_id"`
	// Monitors are those that have it for their own. Empty for the one that all others share.
	Monitors []string `json:"monitors,omitempty"`
}

// Credentials is what is known about when the application's secrets and certificates end.
type Credentials struct {
	List []Credential
	// Read is when Entra was last asked with success; zero: not yet.
	Read time.Time
	// Problem is why Entra does not tell. It keeps nothing from working.
	Problem Problem
}

// How often Entra is asked. Ends are days away, but a secret may be replaced at any time.
const (
	credentialsEvery   = 6 * time.Hour
	credentialsRetry   = time.Minute
	credentialsLongest = time.Hour
)

// expiryWarnings are the days ahead at which the end of a credential is reported.
func expiryWarnings() []int { return []int{60, 30, 7} }

// EndsWithin is the smallest of 60, 30 and 7 days within which the credential ends, 0 when it has ended, and -1 when
// its end is further off.
func (c Credential) EndsWithin(now time.Time) int {
	left := c.Expires.Sub(now)
	if left <= 0 {
		return 0
	}
	within := -1
	for _, days := range expiryWarnings() {
		if left <= time.Duration(days)*24*time.Hour {
			within = days
		}
	}
	return within
}

// Text says when it ends and what to do, for one that ends soon; otherwise it is empty.
func (c Credential) Text(now time.Time) string {
	what, remedy := "the client secret", "make a new one in Entra, put it into client_secret_file, then: presence-bridge monitors renew UPN"
	if c.Kind == "certificate" {
		what, remedy = "the application's certificate", "register a new one in Entra, put it into certificate_file, then: presence-bridge monitors renew UPN"
	}
	if len(c.Monitors) > 0 {
		what = "the own " + c.Kind + " of " + strings.Join(c.Monitors, ", ")
		remedy = "make a new one in Entra, then: presence-bridge monitors renew UPN --client-secret-file FILE; where the configuration names its file, put it there"
	}
	day := c.Expires.UTC().Format(time.DateOnly)
	switch within := c.EndsWithin(now); {
	case within < 0 || !c.InUse:
		return ""
	case within == 0:
		return fmt.Sprintf("%s has expired on %s; %s", what, day, remedy)
	default:
		return fmt.Sprintf("%s ends on %s, in %d days; %s", what, day, int(c.Expires.Sub(now)/(24*time.Hour)), remedy)
	}
}

// keyWatch watches the ends of the application's credentials.
type keyWatch struct {
	m     *Manager
	mu    sync.Mutex
	known Credentials
	told  map[string]int // within how many days each was reported to end
}

// Credentials tells when the application's secrets and certificates end.
func (m *Manager) Credentials() Credentials {
	m.keys.mu.Lock()
	defer m.keys.mu.Unlock()
	out := m.keys.known
	out.List = slices.Clone(out.List)
	return out
}

func (x *keyWatch) run(ctx context.Context) error {
	for failures := 0; ; {
		wait := jitter(credentialsEvery, 0.1)
		list, err := x.m.readCredentials(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && callError(err).Kind != Consent {
			failures++
			wait = backoff(failures, credentialsRetry, credentialsLongest)
		} else {
			failures = 0
		}
		x.note(list, err, time.Now())
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// readCredentials reads the credentials of all applications, and finds out which are in use, by whom. What could be read is
// returned beside an error.
func (m *Manager) readCredentials(ctx context.Context) ([]Credential, error) {
	var all []Credential
	var failed error
	for _, a := range m.apps() {
		list, err := a.Graph.Credentials(ctx)
		if err != nil && failed == nil {
			failed = err
		}
		for i := range list {
			list[i].ClientID = a.ClientID
		}
		all = append(all, list...)
	}
	for _, mo := range m.active() {
		if !mo.hasOwn() {
			continue
		}
		list, err := mo.graph.Credentials(ctx)
		if err != nil && failed == nil {
			failed = err
		}
		all = claim(all, list, mo)
	}
	return all, failed
}

// claim notes which credentials a monitor has for its own.
func claim(all, list []Credential, mo *monitor) []Credential {
	for _, c := range list {
		if !c.InUse {
			continue
		}
		at := slices.IndexFunc(all, func(x Credential) bool { return x.KeyID != "" && x.KeyID == c.KeyID })
		if at < 0 {
			c.ClientID, c.Monitors = mo.clientID(), []string{mo.upn}
			all = append(all, c)
			continue
		}
		if !all[at].InUse || len(all[at].Monitors) > 0 {
			all[at].InUse = true
			all[at].Monitors = append(all[at].Monitors, mo.upn)
		}
	}
	return all
}

// note takes over what was read. After a failure what was known before stays, but for what the file itself says.
func (x *keyWatch) note(list []Credential, err error, now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.known.Problem
	switch {
	case err == nil:
		x.known = Credentials{List: list, Read: now}
	default:
		if len(x.known.List) == 0 || x.known.Read.IsZero() {
			x.known.List = list
		}
		x.known.Problem = expiryProblem(callError(err), before, now)
		if before.Code != x.known.Problem.Code {
			x.m.log.Info("when the application's secrets end is not known", "code", x.known.Problem.Code, "remedy", x.known.Problem.Remedy, "error", err)
		}
	}
	for _, c := range x.known.List {
		x.warn(c, now)
	}
}

// warn reports the end of a credential in use, once for each time that it comes nearer than a threshold.
func (x *keyWatch) warn(c Credential, now time.Time) {
	within := c.EndsWithin(now)
	if !c.InUse || within < 0 {
		return
	}
	key := c.Kind + c.KeyID + c.Expires.String()
	if before, told := x.told[key]; told && before <= within {
		return
	}
	x.told[key] = within
	log := x.m.log.Warn
	if within <= 7 {
		log = x.m.log.Error
	}
	log("a credential of the application ends", "kind", c.Kind, "key_id", c.KeyID, "client_id", c.ClientID, "monitors", len(c.Monitors), "expires", c.Expires,
		"within_days", within, "remedy", Credential{Kind: c.Kind, Expires: c.Expires, InUse: true}.Text(now))
}

func expiryProblem(e *CallError, before Problem, now time.Time) Problem {
	p := Problem{Code: e.Kind.String(), Text: "when the application's secrets end could not be read: " + e.Error(), Since: now,
		Remedy: "none needed: the bridge goes on trying"}
	if e.Kind == Consent {
		p.Text = "when the application's secrets end is not known: Application.Read.All is not granted"
		p.Remedy = "grant Application.Read.All (application) in Entra to be warned 60, 30 and 7 days ahead; nothing else needs it"
	}
	if before.Code == p.Code {
		p.Since = before.Since
	}
	return p
}

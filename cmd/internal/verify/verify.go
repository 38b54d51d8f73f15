// Package verify says whether a configuration works: with the tenants, the PBXs, the bus and the internet as they
// are, and with the running bridge where there is one. It needs no running bridge and changes nothing, but for a
// subscription that the running bridge makes and deletes at once, so that Graph has to reach it. Whoever owns an account looks
// at its PBXs, since some allow a client one session at a time; only where nobody does are they looked at from here.
//
// First everything is looked at (files named see_*.go), then it is judged: every check is a function of what was
// seen, and says ok, warning, failed or skipped, on what evidence, and what to do about it. Nothing that was seen
// is left out because something else failed: a check whose ground is missing is skipped, with the reason.
package verify

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"presencebridge/cmd/internal/config"
)

// Result is what a check came to.
type Result string

// The results, from good to bad; skipped says nothing about what was not looked at.
const (
	OK      Result = "ok"
	Skipped Result = "skipped"
	Warning Result = "warning"
	Failed  Result = "failed"
)

// rank orders results by how bad they are.
func (r Result) rank() int {
	switch r {
	case OK, Skipped:
		return 0
	case Warning:
		return 1
	case Failed:
		return 2
	}
	return 2
}

// Check is one thing that was looked at.
type Check struct {
	Name     string `json:"name"`              // stable, snake_case
	Subject  string `json:"subject,omitempty"` // what of its kind: a permission, a monitor, a PBX, a rule
	Result   Result `json:"result"`
	Evidence string `json:"evidence"`         // what was seen, or why nothing was
	Remedy   string `json:"remedy,omitempty"` // what to do; empty when there is nothing to do
}

// Account is the checks of one account.
type Account struct {
	Name   string  `json:"account"`
	Result Result  `json:"result"`
	Checks []Check `json:"checks"`
}

// Report is everything that was found. Its JSON form is stable: names stay, members may be added.
type Report struct {
	Result   Result    `json:"result"` // the worst of all: ok, warning or failed
	Bridge   []Check   `json:"bridge"` // what concerns all accounts
	Accounts []Account `json:"accounts"`
}

// Options say what to verify.
type Options struct {
	Config  *config.Config
	Account string // only this one; empty: all
	// Roots are the authorities that Graph trusts. Nil: the system's.
	Roots *x509.CertPool
	// Resolve finds the addresses of a host. Nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// FreeSpace measures the free bytes on a folder's disk. Nil: asks the system.
	FreeSpace func(dir string) (int64, error)
	// Timeout bounds each single look. Default 20 s; listing a directory may take six times as long.
	Timeout time.Duration
	// Now is this machine's clock. Nil: time.Now.
	Now func() time.Time
	Log *slog.Logger // nil: discard
}

// parallel is how many accounts are looked at at a time.
const parallel = 4

// Run looks at everything and judges it. The error says that there is nothing to verify; what is found wrong is in
// the report.
func Run(ctx context.Context, opts Options) (*Report, error) {
	opts = opts.withDefaults()
	var accounts []*config.Account
	for i := range opts.Config.Accounts {
		a := &opts.Config.Accounts[i]
		if opts.Account == "" || a.Name == opts.Account {
			accounts = append(accounts, a)
		}
	}
	if len(accounts) == 0 {
		return nil, fmt.Errorf("there is no account %q; the configuration has %s", opts.Account, strings.Join(names(opts.Config), ", "))
	}
	site, stop := lookAtSite(ctx, opts)
	defer stop()
	report := &Report{Bridge: judge(site, siteChecks()), Accounts: make([]Account, len(accounts))}
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, a := range accounts {
		g.Go(func() error {
			checks := judge(lookAtTenant(ctx, site, a), tenantChecks())
			report.Accounts[i] = Account{Name: a.Name, Result: worst(checks), Checks: checks}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	report.finish(secretsOf(opts.Config))
	return report, nil
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = 20 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Resolve == nil {
		o.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if o.FreeSpace == nil {
		o.FreeSpace = freeSpace
	}
	return o
}

func names(cfg *config.Config) []string {
	var out []string
	for i := range cfg.Accounts {
		out = append(out, cfg.Accounts[i].Name)
	}
	return out
}

// judge runs checks over what was seen.
func judge[T any](seen T, checks []func(T) []Check) []Check {
	out := []Check{}
	for _, check := range checks {
		out = append(out, check(seen)...)
	}
	return out
}

// siteChecks are the checks of what concerns all accounts, in the order in which they are shown.
func siteChecks() []func(*site) []Check {
	return []func(*site) []Check{
		checkConfiguration, checkBridge, checkPublicAddress, checkPublicCertificate, checkCertificateFiles,
		checkBus, checkDurability, checkSpace,
	}
}

// tenantChecks are the checks of an account, in the order in which they are shown.
func tenantChecks() []func(*tenant) []Check {
	return []func(*tenant) []Check{
		checkEndpoints, checkClock, ofEach(checkToken), ofEach(checkPermissions), ofEach(checkConsent), ofEach(checkCredential), ofEach(checkRedirect),
		checkMonitors, checkGroups, checkCapacity, checkReceiver, checkGraphReach, checkPBXs, checkStatuses, checkPolicy,
	}
}

func worst(checks []Check) Result {
	r := OK
	for _, c := range checks {
		if c.Result.rank() > r.rank() {
			r = c.Result
		}
	}
	return r
}

// finish sums up, and takes out what may by no means be shown, however it came there.
func (r *Report) finish(secrets []string) {
	scrub(r.Bridge, secrets)
	r.Result = worst(r.Bridge)
	for i := range r.Accounts {
		scrub(r.Accounts[i].Checks, secrets)
		if r.Accounts[i].Result.rank() > r.Result.rank() {
			r.Result = r.Accounts[i].Result
		}
	}
}

// scrub makes texts fit for one line and free of secrets.
func scrub(checks []Check, secrets []string) {
	clean := func(s string) string {
		for _, secret := range secrets {
			s = strings.ReplaceAll(s, secret, "[secret]")
		}
		return strings.Join(strings.Fields(s), " ")
	}
	for i := range checks {
		c := &checks[i]
		c.Subject, c.Evidence, c.Remedy = clean(c.Subject), clean(c.Evidence), clean(c.Remedy)
	}
}

// secretsOf reads every secret that the configuration names.
func secretsOf(cfg *config.Config) []string {
	token, _ := cfg.AdminToken()
	files := []string{token}
	for i := range cfg.Accounts {
		a := &cfg.Accounts[i]
		for _, app := range a.Graph.AllApplications() {
			files = append(files, app.ClientSecretFile, app.CertificatePasswordFile)
		}
		for _, m := range a.Monitors {
			files = append(files, m.ClientSecretFile, m.CertificatePasswordFile)
		}
		for j := range a.PBX {
			files = append(files, a.PBX[j].TokenFile)
		}
	}
	var out []string
	for _, file := range files {
		if file == "" {
			continue
		}
		// What cannot be read cannot be shown either. Less than four characters are no secret, and part of any text.
		if secret, err := config.ReadSecret(file); err == nil && len(secret) >= 4 {
			out = append(out, secret)
		}
	}
	return out
}

// The makers of checks.

func ok(name, subject, format string, args ...any) Check {
	return Check{Name: name, Subject: subject, Result: OK, Evidence: fmt.Sprintf(format, args...)}
}

func skipped(name, subject, format string, args ...any) Check {
	return Check{Name: name, Subject: subject, Result: Skipped, Evidence: fmt.Sprintf(format, args...)}
}

func warning(name, subject, remedy, format string, args ...any) Check {
	return Check{Name: name, Subject: subject, Result: Warning, Evidence: fmt.Sprintf(format, args...), Remedy: remedy}
}

func failed(name, subject, remedy, format string, args ...any) Check {
	return Check{Name: name, Subject: subject, Result: Failed, Evidence: fmt.Sprintf(format, args...), Remedy: remedy}
}

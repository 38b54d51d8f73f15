package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/cmd/internal/config"
)

// running is the bridge that runs with this configuration, as far as it can be seen from here.
type running struct {
	found     bool // its admin listener answers
	readiness api.Readiness
	locked    bool // some process works on data_dir (embedded bus only)
	lockErr   error
	client    *client.Client
	clientErr error // why its API cannot be asked
	accounts  map[string]api.Account
	listErr   error
}

// lookForBridge asks the admin listener, which tells whether the bridge is ready to everybody, and the rest to who
// has the token.
func lookForBridge(ctx context.Context, cfg *config.Config, timeout time.Duration) running {
	var r running
	if cfg.NATS.URL == "" {
		r.locked, r.lockErr = bus.InUse(cfg.DataDir)
	}
	readiness, err := readyz(ctx, cfg.AdminURL(), timeout)
	if err != nil {
		return r
	}
	r.found, r.readiness, r.accounts = true, readiness, map[string]api.Account{}
	file, _ := cfg.AdminToken()
	token, err := config.ReadSecret(file)
	if err != nil {
		r.clientErr = fmt.Errorf("admin token: %w", err)
		return r
	}
	if r.client, r.clientErr = client.New(cfg.AdminURL(), token); r.clientErr != nil {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	list, err := r.client.Accounts(ctx)
	r.listErr = err
	for _, a := range list {
		r.accounts[a.Name] = a
	}
	return r
}

// readyz is what the bridge says about being ready. An error means that no bridge answers there.
func readyz(ctx context.Context, address string, timeout time.Duration) (api.Readiness, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out api.Readiness
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/readyz", http.NoBody)
	if err != nil {
		return out, err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return out, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return out, fmt.Errorf("%s answers %s", address, resp.Status)
	}
	if err := json.Unmarshal(body, &out); err != nil || out.Checks == nil {
		return out, fmt.Errorf("what answers at %s is no bridge", address)
	}
	return out, nil
}

// usable tells whether the API can be asked; otherwise why not, as a reason for skipping.
func (r *running) usable() (why string, usable bool) {
	switch {
	case !r.found && r.locked:
		return "the bridge runs, but its admin listener does not answer", false
	case !r.found:
		return "the bridge is not running; it alone knows this", false
	case r.clientErr != nil:
		return "the running bridge cannot be asked: " + r.clientErr.Error(), false
	case r.listErr != nil:
		return "the running bridge cannot be asked: " + r.listErr.Error(), false
	}
	return "", true
}

// checkConfiguration repeats the remarks of `config check`; mistakes have ended the command before.
func checkConfiguration(s *site) []Check {
	const name = "configuration"
	if len(s.cfg.Warnings) == 0 {
		return []Check{ok(name, "", "no mistakes and no remarks")}
	}
	var out []Check
	for _, w := range s.cfg.Warnings {
		remedy := w.Remedy
		w.Remedy, w.Path = "", ""
		subject := s.cfg.Warnings[len(out)].Path
		out = append(out, warning(name, subject, remedy, "%s", w.String()))
	}
	return out
}

func checkBridge(s *site) []Check {
	const name = "bridge"
	r := &s.running
	switch {
	case r.lockErr != nil:
		return []Check{failed(name, "", "let the user that runs the bridge own data_dir, and run verify as that user", "%v", r.lockErr)}
	case !r.found && r.locked:
		return []Check{failed(name, "", "correct listen.admin, or restart the process with this configuration",
			"a process works on %s, but nothing that is a bridge answers at %s", s.cfg.DataDir, s.cfg.AdminURL())}
	case !r.found:
		return []Check{skipped(name, "", "no bridge answers at %s; what only a running bridge knows is skipped", s.cfg.AdminURL())}
	}
	var out []Check
	for _, c := range r.readiness.Checks {
		if !c.OK {
			out = append(out, failed(name, c.Name, "its log says more", "running and not ready: %s", c.Detail))
		}
	}
	if why, usable := r.usable(); !usable {
		out = append(out, warning(name, "api", "run verify as the user that runs the bridge, with its configuration", "%s", why))
	}
	if len(out) == 0 {
		out = append(out, ok(name, "", "running at %s and ready", s.cfg.AdminURL()))
	}
	return out
}

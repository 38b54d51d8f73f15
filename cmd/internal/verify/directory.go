package verify

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"presencebridge/bridge/directory"
	"presencebridge/bridge/pbx"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/connect"
)

// match brings people and PBX users together as the bridge does. why is not empty if one of the lists is missing.
func (t *tenant) match() (res directory.Result, why string) {
	if t.usersErr != nil {
		return res, fmt.Sprintf("the tenant's users cannot be listed: %v", t.usersErr)
	}
	phones := map[string][]pbx.User{}
	for _, ph := range t.pbxs {
		if ph.usersErr != nil {
			return res, fmt.Sprintf("the users of the PBX %s cannot be listed: %v", ph.cfg.Name, ph.usersErr)
		}
		phones[ph.cfg.Name] = ph.users
	}
	opts, err := t.cfg.MatchOptions()
	if err != nil {
		return res, err.Error()
	}
	opts.Groups = t.people.Groups()
	return directory.Match(t.people.Users(), phones, opts), ""
}

// BridgeRuns tells whether a bridge runs with this configuration, or some process works on its data_dir.
func BridgeRuns(ctx context.Context, cfg *config.Config) bool {
	r := lookForBridge(ctx, cfg, 5*time.Second)
	return r.found || r.locked
}

// Directory reports who is who in an account by asking its tenant and its PBXs. It is for when no bridge runs: a PBX
// that allows a client one token at a time would end the bridge's.
func Directory(ctx context.Context, opts Options, a *config.Account) (*directory.Report, error) {
	opts = opts.withDefaults()
	t := &tenant{site: &site{opts: opts, cfg: opts.Config, now: opts.Now()}, cfg: a, apps: applications(&a.Graph)}
	if t.policy, t.policyErr = a.ParsePolicy(); t.policyErr != nil {
		return nil, t.policyErr
	}
	if err := t.mayLook(ctx); err != nil {
		return nil, err
	}
	var looking sync.WaitGroup
	looking.Go(func() { t.lookAtGraph(ctx) })
	for i := range a.PBX {
		p := &phone{cfg: &a.PBX[i]}
		t.pbxs = append(t.pbxs, p)
		looking.Go(func() { p.look(ctx, a.Name, t.site) })
	}
	looking.Wait()
	res, why := t.match()
	if why != "" {
		return nil, fmt.Errorf("account %s: %s; `presence-bridge verify` says more", a.Name, why)
	}
	var problems []directory.Problem
	for _, p := range t.people.Problems() {
		problems = append(problems, directory.Problem{Text: "group " + p.Group + ": " + p.Text, Remedy: p.Remedy})
	}
	return directory.NewReport(t.people.Users(), res, problems...), nil
}

// mayLook refuses where a bridge on another machine, which only an external bus tells of, would lose its session with a PBX.
func (t *tenant) mayLook(ctx context.Context) error {
	one := slices.IndexFunc(t.cfg.PBX, func(p config.PBX) bool { return connect.OneSession(p.Type) })
	if one < 0 || t.site.cfg.NATS.URL == "" {
		return nil
	}
	// A bus that does not answer keeps every bridge from working.
	if owned, err := app.HasOwner(ctx, t.site.cfg, t.cfg.Name, t.site.opts.Log); err != nil || !owned {
		return nil //nolint:nilerr // see above
	}
	return fmt.Errorf("account %s: a bridge on another machine runs it, and asking the PBX %s from here would end its session: ask that bridge, with --url and --token-file", t.cfg.Name, t.cfg.PBX[one].Name)
}

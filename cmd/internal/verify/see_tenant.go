package verify

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/policy"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/roster"
	"presencebridge/graph"
)

// listings is how many times the timeout listing users may take: a page holds 999 of them.
const listings = 6

// tenant is what was seen of one account.
type tenant struct {
	site *site
	cfg  *config.Account

	client    *graph.Client // of the first application
	clientErr error
	cloud     graph.CloudInfo
	endpoints []endpoint

	apps     []*application // client_id is the first
	people   *roster.Roster
	usersErr error

	pbxs      []*phone
	policy    *policy.Policy
	policyErr error

	monitors    []api.Monitor // as the running bridge lists them
	monitorsErr error
	probed      api.Probe // of whether Graph reaches the receiver, through the running bridge
	probedErr   error
	handshakes  []handshake
}

// endpoint is an address of Microsoft's, asked for without a token.
type endpoint struct {
	name, address string
	status        int
	date          time.Time     // its clock, in whole seconds; zero if it does not say
	local         time.Time     // ours, in the middle of the exchange
	took          time.Duration // from request to answer
	err           error
}

// lookAtTenant looks at everything of an account. What does not depend on one another is looked at at once.
func lookAtTenant(ctx context.Context, s *site, a *config.Account) *tenant {
	t := &tenant{site: s, cfg: a, apps: applications(&a.Graph)}
	t.policy, t.policyErr = a.ParsePolicy()
	var looking sync.WaitGroup
	looking.Go(func() { t.lookAtGraph(ctx) })
	for _, app := range t.apps[1:] {
		looking.Go(func() { t.lookAtFurther(ctx, app) })
	}
	for i := range a.PBX {
		t.pbxs = append(t.pbxs, &phone{cfg: &a.PBX[i]})
	}
	looking.Go(func() { t.lookAtPBXs(ctx) })
	looking.Go(func() { t.lookAtMonitors(ctx) })
	looking.Go(func() { t.handshakes = shakeHands(ctx, s, a.Name) })
	looking.Wait()
	return t
}

// each does something for all at once, and waits.
func each[T any](list []T, do func(T)) {
	var all sync.WaitGroup
	for _, x := range list {
		all.Go(func() { do(x) })
	}
	all.Wait()
}

func newGraph(a *config.Account, app config.Application, s *site) (*graph.Client, error) {
	g := a.Graph
	cfg := graph.Config{
		Account: a.Name, TenantID: g.TenantID, ClientID: app.ClientID, Cloud: graph.Cloud(g.Cloud),
		Endpoints:     graph.Endpoints{Login: g.Endpoints.Login, Graph: g.Endpoints.Graph, CAFile: g.Endpoints.CAFile},
		UserAttribute: a.Directory.ExtensionAttribute, Timeout: s.opts.Timeout, Log: s.opts.Log,
	}
	if app.CertificateFile != "" {
		cfg.Certificate = graph.CertificateFile(app.CertificateFile)
	} else {
		cfg.ClientSecret = graph.SecretFile(app.ClientSecretFile)
	}
	if app.CertificatePasswordFile != "" {
		cfg.CertificatePassword = graph.SecretFile(app.CertificatePasswordFile)
	}
	return graph.New(cfg)
}

// errNoToken stands for everything that could not be asked for want of a token.
var errNoToken = errors.New("there is no app token to ask with")

func (t *tenant) lookAtGraph(ctx context.Context) {
	first := t.apps[0]
	t.client, t.clientErr = newGraph(t.cfg, first.cfg, t.site)
	if t.clientErr != nil {
		first.unusable(t.clientErr)
		t.usersErr = errNoToken
		return
	}
	defer t.client.Close()
	t.cloud = t.client.Cloud()
	login, api := t.client.Addresses()
	t.endpoints = []endpoint{
		t.probe(ctx, "login", login, "/"+t.cfg.Graph.TenantID+"/v2.0/.well-known/openid-configuration"),
		t.probe(ctx, "graph", api, "/v1.0/users"),
	}
	limited, cancel := context.WithTimeout(ctx, t.site.opts.Timeout)
	defer cancel()
	if first.look(limited, t.client); first.tokenErr != nil {
		t.usersErr = errNoToken
		return
	}
	t.listUsers(ctx)
}

// lookAtFurther looks at an application beside the first: what all of them share was seen with that one.
func (t *tenant) lookAtFurther(ctx context.Context, a *application) {
	c, err := newGraph(t.cfg, a.cfg, t.site)
	if err != nil {
		a.unusable(err)
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, t.site.opts.Timeout)
	defer cancel()
	a.look(ctx, c)
}

func (t *tenant) probe(ctx context.Context, name, base, path string) endpoint {
	e := endpoint{name: name, address: base}
	ctx, cancel := context.WithTimeout(ctx, t.site.opts.Timeout)
	defer cancel()
	start := t.site.opts.Now()
	var header http.Header
	e.status, header, e.err = t.client.Probe(ctx, base, path)
	end := t.site.opts.Now()
	e.took = end.Sub(start)
	e.local = start.Add(e.took / 2)
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		e.date = date
	}
	return e
}

func (t *tenant) listUsers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listings*t.site.opts.Timeout)
	defer cancel()
	var groups []string
	if t.policyErr == nil {
		groups = t.policy.GroupNames()
	}
	t.people = roster.New(roster.Config{Graph: t.client, Groups: groups, Log: t.site.opts.Log})
	_, t.usersErr = t.people.Refresh(ctx)
}

// lookAtMonitors asks the running bridge for the account's monitors.
func (t *tenant) lookAtMonitors(ctx context.Context) {
	r := &t.site.running
	why, usable := r.usable()
	if !usable {
		t.monitorsErr = errors.New(why)
		return
	}
	if _, known := r.accounts[t.cfg.Name]; !known {
		t.monitorsErr = errors.New("the running bridge does not know the account: restart it with this configuration")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, t.site.opts.Timeout)
	defer cancel()
	t.monitors, t.monitorsErr = r.client.Monitors(ctx, t.cfg.Name)
	if t.monitorsErr != nil || len(t.upns()) == 0 {
		return
	}
	// Only the owner of the account has the monitors' tokens.
	patient, done := context.WithTimeout(context.WithoutCancel(ctx), probePatience)
	defer done()
	t.probed, t.probedErr = r.client.Probe(patient, t.cfg.Name)
}

// probePatience is how long Graph may take to reach the bridge: it waits 10 s for each of its answers.
const probePatience = 45 * time.Second

package app

import (
	"os"
	"strconv"
	"time"

	"presencebridge/bridge/bus"
	"presencebridge/cmd/internal/config"
	"presencebridge/graph"
	"presencebridge/monitors"
	"presencebridge/monitors/wire"
	"presencebridge/webhook"
	"presencebridge/webhook/signin"
)

// buildGraph makes a client for each application of the account. Budgets are per application and tenant, so that each has
// its own. The first is the account's: it reads the directory and sets presence, whose session is named after the
// application (learn:api/presence-setpresence); with two there would be two sessions.
func (a *account) buildGraph() error {
	for i, app := range a.cfg.Graph.AllApplications() {
		client, err := a.newGraph(app, i+1)
		if err != nil {
			return err
		}
		a.graphs = append(a.graphs, client)
	}
	a.graph = a.graphs[0]
	a.reads = graph.NewReaders(a.graph, a.graphs[1:]...)
	return nil
}

func (a *account) newGraph(app config.Application, number int) (*graph.Client, error) {
	g := a.cfg.Graph
	cfg := graph.Config{
		Account: a.name, Application: strconv.Itoa(number), TenantID: g.TenantID, ClientID: app.ClientID, Cloud: graph.Cloud(g.Cloud),
		Endpoints:     graph.Endpoints{Login: g.Endpoints.Login, Graph: g.Endpoints.Graph, CAFile: g.Endpoints.CAFile},
		UserAttribute: a.cfg.Directory.ExtensionAttribute,
		Budgets:       budgets(a.cfg.Budgets),
		MaySend:       a.mayAct, Log: a.app.log, Metrics: a.metrics,
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

// budgets are the configured ones as the client takes them.
func budgets(b config.Budgets) graph.Budgets {
	return graph.Budgets{
		Reads:        graph.Budget{Limit: b.Reads, Window: 30 * time.Second},
		ConfirmShare: b.ConfirmShare, SweepShare: b.SweepShare,
		Writes:        graph.Budget{Limit: b.Writes, Window: 30 * time.Second, Max: b.WritesMost},
		Subscriptions: graph.Budget{Limit: b.Subscriptions, Window: 20 * time.Second},
	}
}

func (a *account) buildMonitors() error {
	cfg := monitors.Config{
		Account: a.name, Monitors: a.cfg.MonitorUPNs(), Graph: wire.Graph(a.graph), Reads: wire.Reads(a.reads), Store: wire.Store(a.app.bus.Bucket(bus.Monitors)),
		Sealer: a.app.keys, Sink: sink{a}, TenantID: a.cfg.Graph.TenantID, ClientID: a.cfg.Graph.ClientID, Own: a.ownCredentials(),
		PublicURL:          a.app.opts.Config.PublicURL,
		NewClientState:     func() (string, error) { return webhook.NewClientState(a.app.webhookKey(), a.name) },
		NewSignInState:     func() (string, error) { return signin.NewState(a.app.webhookKey(), a.name) },
		CurrentClientState: func(s string) bool { return webhook.CheckClientState(a.app.webhookKey(), a.name, s) },
		OnCertificates: func(keys map[string]monitors.DecryptionKey) {
			if err := a.setCertificates(keys); err != nil {
				a.log.Error("the encryption certificates cannot be used", "error", err)
			}
		},
		NoSubscriptions: !a.graph.Cloud().Subscriptions, SweepInterval: a.cfg.Sweep.Interval,
		PolledInterval: a.cfg.Sweep.PolledInterval, Lease: a.cfg.Lease, PushesReported: true,
		PushLatency: a.app.opts.PushLatency, RenewEvery: a.app.opts.RenewEvery,
		JoinDelay: a.cfg.Subscriptions.JoinDelay, LeaveDelay: a.cfg.Subscriptions.LeaveDelay, RotateOver: a.cfg.Subscriptions.RotateOver,
		Log: a.app.log, Metrics: a.metrics,
	}
	for i, g := range a.graphs[1:] {
		cfg.More = append(cfg.More, monitors.Application{ClientID: a.cfg.Graph.Applications[i].ClientID, Graph: wire.Graph(g)})
	}
	var err error
	a.monitors, err = monitors.New(cfg)
	if err == nil && cfg.NoSubscriptions {
		a.log.Warn("this cloud has no presence subscriptions: every member is polled", "cloud", a.cfg.Graph.Cloud)
	}
	return err
}

// ownCredentials are those that the configuration has for one monitor each.
func (a *account) ownCredentials() map[string]func() (monitors.Own, error) {
	out := map[string]func() (monitors.Own, error){}
	for _, m := range a.cfg.Monitors {
		if m.ClientSecretFile != "" || m.CertificateFile != "" {
			out[m.UPN] = func() (monitors.Own, error) { return readOwn(m) }
		}
	}
	return out
}

// readOwn reads a monitor's own credential, each time that it is needed: files are replaced while the bridge runs.
func readOwn(m config.Monitor) (own monitors.Own, err error) {
	if m.ClientSecretFile != "" {
		own.Secret, err = config.ReadSecret(m.ClientSecretFile)
		return own, err
	}
	if own.Certificate, err = os.ReadFile(m.CertificateFile); err != nil {
		return own, err
	}
	if m.CertificatePasswordFile != "" {
		own.CertificatePassword, err = config.ReadSecret(m.CertificatePasswordFile)
	}
	return own, err
}

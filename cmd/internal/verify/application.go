package verify

import (
	"context"
	"crypto/x509"

	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/setup"
	"presencebridge/graph"
)

// application is what was seen of one of the account's app registrations.
type application struct {
	cfg     config.Application
	further bool // beside client_id: it reads and subscribes, and no more
	named   bool // there are several, so that findings say which one is meant

	token           graph.Permissions
	tokenErr        error
	certificate     *x509.Certificate // of certificate_file
	certErr         error
	registration    graph.Registration
	registrationErr error
	credentials     []graph.Credential // of the registration
	credErr         error
}

// applications are those of the configuration, nothing seen yet.
func applications(g *config.Graph) []*application {
	all := g.AllApplications()
	out := make([]*application, len(all))
	for i, cfg := range all {
		out[i] = &application{cfg: cfg, further: i > 0, named: len(all) > 1}
	}
	return out
}

// look asks Entra, with the application's own token.
func (a *application) look(ctx context.Context, c *graph.Client) {
	a.certificate, a.certErr = c.Certificate()
	if a.token, a.tokenErr = c.AppPermissions(ctx); a.tokenErr != nil {
		a.registrationErr, a.credErr = errNoToken, errNoToken
		return
	}
	a.registration, a.registrationErr = c.Registration(ctx)
	a.credentials, a.credErr = c.Credentials(ctx)
}

// unusable is one that no client can be made for.
func (a *application) unusable(err error) {
	a.tokenErr, a.registrationErr, a.credErr, a.certErr = err, errNoToken, errNoToken, err
}

// permissions are the application permissions that it needs.
func (a *application) permissions(t *tenant) []setup.Permission {
	if a.further {
		return setup.FurtherPermissions()
	}
	return setup.ApplicationPermissions(setup.NamesGroups(t.cfg))
}

// subject is the subject of a check, with the application where there are several.
func (a *application) subject(of string) string {
	switch {
	case !a.named:
		return of
	case of == "":
		return "application " + a.cfg.ClientID
	}
	return of + ", application " + a.cfg.ClientID
}

// ofEach makes a check of the account out of one of its applications.
func ofEach(check func(*tenant, *application) []Check) func(*tenant) []Check {
	return func(t *tenant) (out []Check) {
		for _, a := range t.apps {
			out = append(out, check(t, a)...)
		}
		return out
	}
}

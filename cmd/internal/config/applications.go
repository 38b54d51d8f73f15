package config

import (
	"fmt"
	"strings"
)

// applications checks the further applications of an account.
func (v *validator) applications(a *Account, path string, apps seen) {
	g := &a.Graph
	for i, app := range g.Applications {
		at := fmt.Sprintf("%s.applications[%d]", path, i)
		v.guid(at+".client_id", app.ClientID)
		if !v.broken[path+".tenant_id"] && !v.broken[at+".client_id"] {
			key := strings.ToLower(g.TenantID + " " + app.ClientID + " " + g.Endpoints.Login)
			v.unique(apps, key, at+".client_id", "is used with the same tenant at %s", "one application in one tenant serves one account, once")
		}
		v.credentials(&Graph{
			ClientSecretFile: app.ClientSecretFile, CertificateFile: app.CertificateFile, CertificatePasswordFile: app.CertificatePasswordFile,
		}, at)
	}
	if len(g.Applications) > 0 && g.Cloud != "global" && !v.broken[path+".cloud"] {
		v.add(path+".applications", fmt.Sprintf("cloud %s has no presence subscriptions", g.Cloud), "remove the applications; the sweep covers everybody there")
	}
}

// ownCredential checks a credential of a monitor's own.
func (v *validator) ownCredential(m Monitor, path string) {
	if m.ClientSecretFile != "" && m.CertificateFile != "" {
		v.add(path+".certificate_file", "is given beside client_secret_file", "keep one of the two")
	}
	if m.CertificatePasswordFile != "" && m.CertificateFile == "" {
		v.add(path+".certificate_password_file", "is given without certificate_file", "give certificate_file, or remove it")
	}
}

// monitorFiles checks the files of further applications and of monitors' own credentials.
func (v *validator) monitorFiles(a *Account, path string) {
	check := func(at, secret, certificate, password string) {
		v.secretFile(at+".client_secret_file", secret)
		v.secretFile(at+".certificate_file", certificate)
		v.secretFile(at+".certificate_password_file", password)
	}
	for i, app := range a.Graph.Applications {
		check(fmt.Sprintf("%s.graph.applications[%d]", path, i), app.ClientSecretFile, app.CertificateFile, app.CertificatePasswordFile)
	}
	for i, m := range a.Monitors {
		check(fmt.Sprintf("%s.monitors[%d]", path, i), m.ClientSecretFile, m.CertificateFile, m.CertificatePasswordFile)
	}
}

// ClientIDs are the application ids of the account, the first one first.
func (g *Graph) ClientIDs() []string {
	var ids []string
	for _, app := range g.AllApplications() {
		ids = append(ids, app.ClientID)
	}
	return ids
}

// AllApplications are the account's applications, that of client_id first.
func (g *Graph) AllApplications() []Application {
	return append([]Application{{
		ClientID: g.ClientID, ClientSecretFile: g.ClientSecretFile, CertificateFile: g.CertificateFile,
		CertificatePasswordFile: g.CertificatePasswordFile,
	}}, g.Applications...)
}

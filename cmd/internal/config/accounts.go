package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"presencebridge/bridge/policy"
)

// seen remembers where a value that must be unique first stood.
type seen map[string]string

// accounts checks each account, and that none gets into another's way.
func (v *validator) accounts() {
	c := v.config
	if len(c.Accounts) == 0 {
		v.add("accounts", "is missing", "describe at least one tenant with its PBX")
		return
	}
	names, apps, pbxs := seen{}, seen{}, seen{}
	for i := range c.Accounts {
		a, path := &c.Accounts[i], fmt.Sprintf("accounts[%d]", i)
		if v.name(path+".name", a.Name) {
			v.unique(names, a.Name, path+".name", "is also the name of %s", "account names must differ")
		}
		if !v.has(RoleEngine) {
			continue // the name is all that the other roles need
		}
		v.graph(a, path+".graph", apps)
		v.monitors(a, path)
		v.pbx(a, path, pbxs)
		for j, e := range a.Exclude {
			at := fmt.Sprintf("%s.exclude[%d]", path, j)
			if _, long := v.lines[at+".upn"]; long {
				at += ".upn"
			}
			v.upn(at, e.UPN)
		}
		if a.Sweep.PolledInterval > a.Sweep.Interval {
			v.add(path+".sweep.polled_interval", fmt.Sprintf("%s is longer than sweep.interval, %s", a.Sweep.PolledInterval, a.Sweep.Interval), "members without a subscription are read more often, not less")
		}
		v.competing(a, path+".competing_writers")
		v.directory(a, path)
		v.policy(a, path+".policy")
	}
}

func (v *validator) unique(s seen, value, path, message, remedy string) {
	if first, ok := s[value]; ok {
		v.add(path, fmt.Sprintf(message, first), remedy)
		return
	}
	s[value] = path
}

func (v *validator) graph(a *Account, path string, apps seen) {
	g := &a.Graph
	v.guid(path+".tenant_id", g.TenantID)
	v.guid(path+".client_id", g.ClientID)
	if !v.broken[path+".tenant_id"] && !v.broken[path+".client_id"] {
		key := strings.ToLower(g.TenantID + " " + g.ClientID + " " + g.Endpoints.Login)
		v.unique(apps, key, path+".client_id", "is used with the same tenant at %s", "one application in one tenant serves one account: its budgets and its presence sessions cannot be shared")
	}
	v.credentials(g, path)
	v.applications(a, path, apps)
	if u := v.endpoint(path+".endpoints.login", g.Endpoints.Login); u != nil && strings.Trim(u.Path, "/") != "" {
		v.add(path+".endpoints.login", fmt.Sprintf("has the path %q", u.Path), "give it as https://host[:port], the tenant is added")
	}
	if u := v.endpoint(path+".endpoints.graph", g.Endpoints.Graph); u != nil && strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/v1.0") {
		v.add(path+".endpoints.graph", "ends with /v1.0", "leave the version out, it is added")
	}
	v.pair(path+".endpoints.login", g.Endpoints.Login, path+".endpoints.graph", g.Endpoints.Graph)
	if g.Endpoints.CAFile != "" && g.Endpoints.Login == "" && g.Endpoints.Graph == "" {
		v.add(path+".endpoints.ca_file", "is given without addresses", "give endpoints.login and endpoints.graph, or remove it")
	}
	if g.Cloud == "china" {
		v.warn(path+".cloud", "Microsoft's cloud in China has no presence in Graph", "expect every member to be unknown")
	}
}

func (v *validator) credentials(g *Graph, path string) {
	switch {
	case g.ClientSecretFile == "" && g.CertificateFile == "":
		v.add(path+".client_secret_file", "is missing", "name the file with the client secret, or give certificate_file")
	case g.ClientSecretFile != "" && g.CertificateFile != "":
		v.add(path+".certificate_file", "is given beside client_secret_file", "keep one of the two")
	}
	if g.CertificatePasswordFile != "" && g.CertificateFile == "" {
		v.add(path+".certificate_password_file", "is given without certificate_file", "give certificate_file, or remove it")
	}
}

// endpoint checks an override; the token library takes HTTPS only. It returns nil for one that is absent or wrong.
func (v *validator) endpoint(path, text string) *url.URL {
	if text == "" {
		return nil
	}
	u, ok := v.url(path, text)
	if !ok {
		return nil
	}
	if u.Scheme != "https" {
		v.add(path, "must begin with https://", "tokens are only sent over HTTPS; give the simulator's authority as endpoints.ca_file")
		return nil
	}
	return u
}

func (v *validator) monitors(a *Account, path string) {
	upns := seen{}
	for i, m := range a.Monitors {
		v.ownCredential(m, fmt.Sprintf("%s.monitors[%d]", path, i))
		at := fmt.Sprintf("%s.monitors[%d].upn", path, i)
		v.upn(at, m.UPN)
		v.unique(upns, strings.ToLower(m.UPN), at, "is also at %s", "each user carries one presence subscription only")
	}
	if len(a.Monitors) > 0 && a.Graph.Cloud != "global" && !v.broken[path+".graph.cloud"] {
		v.add(path+".monitors", fmt.Sprintf("cloud %s has no presence subscriptions", a.Graph.Cloud), "remove the monitors; the sweep covers everybody there")
	}
}

func (v *validator) pbxType(path, kind string) {
	known := strings.Join(PBXTypes(), ", ")
	switch {
	case slices.Contains(PBXTypes(), kind):
	case kind == "":
		v.add(path, "is missing", "known types are "+known)
	default:
		v.add(path, fmt.Sprintf("%q is not a type of PBX that this version knows", clip(kind)), "known types are "+known)
	}
}

func (v *validator) pbxURL(path, text string, urls seen) {
	if text == "" {
		v.add(path, "is missing", "give the address of the PBX's interface, for example https://pbx.example.com")
		return
	}
	u, ok := v.url(path, text)
	if !ok {
		return
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		v.warn(path, "the token and people's presence cross the network in the clear", "use https://")
	}
	v.unique(urls, normalURL(u), path, "is the same PBX as %s", "each PBX belongs to one account, once: two connectors would write over each other")
}

// normalURL brings an address into the one form in which equal addresses are equal.
func normalURL(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + host + ":" + port + strings.TrimRight(u.EscapedPath(), "/")
}

func (v *validator) policy(a *Account, path string) {
	if v.options.ParsePolicy == nil || len(a.Policy.YAML) == 0 {
		return
	}
	if err := v.options.ParsePolicy(a.Policy.YAML); err != nil {
		v.policyProblems(path, err)
		return
	}
	p, err := policy.Parse(a.Policy.YAML)
	if err != nil {
		return // the hook accepted what it alone understands
	}
	site := policy.Site{PBX: map[string]policy.Catalogue{}}
	for i := range a.PBX {
		site.PBX[a.PBX[i].Name] = nil
		if v.options.Catalogue != nil {
			site.PBX[a.PBX[i].Name] = v.options.Catalogue(a.PBX[i].Type)
		}
	}
	for _, f := range p.Check(site) {
		w := v.locate(path, f.Text, f.Remedy)
		w.Path = join(path, f.Rule)
		if f.Rule == "" {
			w.Path = path
		}
		if f.Line > 0 {
			w.Line = f.Line
		}
		v.warnings = append(v.warnings, w)
	}
}

// policyProblems tells every mistake of a policy by itself, with its own line.
func (v *validator) policyProblems(path string, err error) {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	for _, err := range list {
		var e *policy.Error
		if !errors.As(err, &e) {
			v.problems = append(v.problems, v.locate(path, err.Error(), ""))
			continue
		}
		at := path
		if e.Path != "" {
			at = join(path, e.Path)
		}
		v.problems = append(v.problems, Problem{Path: at, Line: e.Line, Message: e.Text})
	}
}

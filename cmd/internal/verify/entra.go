package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/console/client/api"
	"presencebridge/cmd/internal/setup"
	"presencebridge/graph"
)

// Bounds of the clock's error. Entra takes signed assertions, and the bridge validation tokens, within five minutes.
const (
	clockWarning = 2 * time.Minute
	clockLimit   = 5 * time.Minute
)

// secretSoon is how long before its end a secret or certificate is worth a remark: making another one may need
// somebody who is on holiday.
const secretSoon = 60 * 24 * time.Hour

func checkEndpoints(t *tenant) []Check {
	const name = "endpoint"
	if t.clientErr != nil {
		return []Check{failed(name, "", "correct the account's graph section", "%v", t.clientErr)}
	}
	var out []Check
	for _, e := range t.endpoints {
		switch {
		case graph.IsKind(e.err, graph.Refused):
			out = append(out, failed(name, e.name, "set endpoints.ca_file if this is a simulator; otherwise find out what intercepts TLS in between", "%s: %v", e.address, e.err))
		case e.err != nil:
			out = append(out, failed(name, e.name, "let this machine reach the address over HTTPS: DNS, firewall, HTTPS_PROXY", "%s: %v", e.address, e.err))
		case e.status >= 500:
			out = append(out, warning(name, e.name, "try again later", "%s answers %d", e.address, e.status))
		case e.name == "login" && e.status != 200:
			out = append(out, failed(name, e.name, "correct tenant_id, and cloud if the tenant is in a national one", "%s is reachable, but does not know the tenant (answer %d)", e.address, e.status))
		default:
			out = append(out, ok(name, e.name, "%s answers in %d ms", e.address, e.took.Milliseconds()))
		}
	}
	return out
}

// checkClock compares this machine's clock with Microsoft's.
func checkClock(t *tenant) []Check {
	const name = "clock"
	var skew time.Duration
	seen := ""
	for _, e := range t.endpoints {
		if e.err != nil || e.date.IsZero() {
			continue
		}
		// Date is cut to whole seconds: half a second is the least error on average.
		d := e.local.Sub(e.date.Add(500 * time.Millisecond))
		if seen == "" || d.Abs() > skew.Abs() {
			skew, seen = d, e.name
		}
	}
	if seen == "" {
		return []Check{skipped(name, "", "no endpoint said what time it is")}
	}
	text := fmt.Sprintf("this machine is %s %s of the %s endpoint", skew.Abs().Round(time.Second), map[bool]string{true: "ahead", false: "behind"}[skew > 0], seen)
	const remedy = "have the clock set by NTP (timedatectl set-ntp true)"
	switch {
	case skew.Abs() > clockLimit:
		return []Check{failed(name, "", remedy, "%s: tokens will be refused on both sides", text)}
	case skew.Abs() > clockWarning:
		return []Check{warning(name, "", remedy, "%s", text)}
	case skew.Abs() < 2*time.Second:
		text = "this machine's clock agrees with the " + seen + " endpoint"
	}
	return []Check{ok(name, "", "%s", text)}
}

func checkToken(_ *tenant, a *application) []Check {
	const name = "app_token"
	if a.tokenErr != nil {
		return []Check{failed(name, a.subject(""), tokenRemedy(a.tokenErr), "%v", a.tokenErr)}
	}
	return []Check{ok(name, a.subject(""), "Entra gives one for application %s, good until %s", a.cfg.ClientID, clock(a.token.Expires))}
}

// tokenRemedy says what to do about a refused app token, by Entra's number (entra: reference-error-codes).
func tokenRemedy(err error) string {
	var e *graph.Error
	if !errors.As(err, &e) {
		return "correct the account's graph section"
	}
	switch e.Code {
	case "AADSTS7000215":
		return "put the value of a present client secret, not its id, into client_secret_file"
	case "AADSTS7000222":
		return "make a new client secret in Entra and put its value into client_secret_file"
	case "AADSTS700027", "AADSTS700024":
		return "register the certificate of certificate_file with the application, and check this machine's clock"
	case "AADSTS7000218":
		return "give client_secret_file or certificate_file"
	case "AADSTS700016", "AADSTS7000112", "AADSTS700054":
		return "correct client_id and tenant_id, or register or enable the application: presence-bridge setup azure"
	case "AADSTS90002":
		return "correct tenant_id, and cloud if the tenant is in a national one"
	case "AADSTS65001", "AADSTS90094":
		return "have an administrator consent to the application's permissions: presence-bridge setup azure"
	case "AADSTS53003", "AADSTS530003":
		return "exempt the application from the Conditional Access policy for workload identities that the Entra sign-in log names"
	case "credential_unreadable", "credential_unusable":
		return "correct client_secret_file or certificate_file"
	}
	if e.Status == 0 && e.Kind == graph.Refused {
		return "see the check of the login endpoint"
	}
	switch e.Kind {
	case graph.Transient, graph.Throttled:
		return "let this machine reach the login endpoint, and try again"
	case graph.ConsentMissing:
		return "have an administrator consent to the application's permissions: presence-bridge setup azure"
	case graph.Refused, graph.Gone, graph.Conflict, graph.Unauthorised:
	}
	return "look the code up at https://login.microsoftonline.com/error and correct the app registration"
}

// checkPermissions looks for each application permission among the token's roles.
func checkPermissions(t *tenant, a *application) []Check {
	const name = "permission"
	var out []Check
	for _, p := range a.permissions(t) {
		subject := a.subject(p.Name)
		switch {
		case a.tokenErr != nil:
			out = append(out, skipped(name, subject, "there is no app token to read it from"))
		case !a.token.Readable:
			out = append(out, skipped(name, subject, "the app token cannot be read"))
		case slices.Contains(a.token.Roles, p.Name):
			out = append(out, ok(name, subject, "granted: %s", p.Purpose))
		case p.Optional && p.Without == "":
			out = append(out, skipped(name, subject, "not granted, and optional: %s", p.Purpose))
		default:
			out = append(out, missing(a, name, p))
		}
	}
	return out
}

// missing is a permission that the token does not carry and should. A lesser or wider one may do.
func missing(a *application, name string, p setup.Permission) Check {
	remedy := fmt.Sprintf("add the application permission %s (%s) in Entra and grant admin consent: presence-bridge setup azure", p.Name, p.ID)
	subject := a.subject(p.Name)
	for _, instead := range []struct {
		want, have, remark string
		result             Result
	}{
		{"User.Read.All", "Directory.Read.All", "Directory.Read.All is granted, which is more than needed", Warning},
		{"User.Read.All", "User.ReadBasic.All", "only User.ReadBasic.All is granted: disabled accounts and guests cannot be told apart from members", Warning},
		// learn:api/presence-get and cloudcommunications-getpresencesbyuserid name either for reading.
		{"Presence.Read.All", "Presence.ReadWrite.All", "Presence.ReadWrite.All is granted, which is more than needed", OK},
	} {
		switch {
		case p.Name != instead.want || !slices.Contains(a.token.Roles, instead.have):
		case instead.result == OK:
			return ok(name, subject, "%s", instead.remark)
		default:
			return warning(name, subject, remedy, "%s", instead.remark)
		}
	}
	if p.Optional {
		return warning(name, subject, remedy, "the app token does not carry it: %s", p.Without)
	}
	return failed(name, subject, remedy, "the app token does not carry it: %s", p.Purpose)
}

// checkConsent compares what the registration asks for with what the token carries: an application permission is in
// the token only if an administrator has consented to it.
func checkConsent(_ *tenant, a *application) []Check {
	const name = "admin_consent"
	const remedy = "Entra > App registrations > API permissions > Grant admin consent, as a Privileged Role Administrator; or presence-bridge setup azure"
	subject := a.subject("")
	switch {
	case graph.IsKind(a.tokenErr, graph.ConsentMissing):
		return []Check{failed(name, subject, remedy, "Entra says that nobody has consented: %v", a.tokenErr)}
	case a.tokenErr != nil:
		return []Check{skipped(name, subject, "there is no app token to see it by")}
	case !a.token.Readable:
		return []Check{skipped(name, subject, "the app token cannot be read")}
	case len(a.token.Roles) == 0 && a.further:
		return []Check{warning(name, subject, remedy, "the app token carries no application permission at all; the monitors' sign-ins are enough to subscribe with")}
	case len(a.token.Roles) == 0:
		return []Check{failed(name, subject, remedy, "the app token carries no application permission at all")}
	}
	byID := map[string]string{}
	for _, p := range append(setup.ApplicationPermissions(true), setup.FurtherPermissions()...) {
		byID[p.ID] = p.Name
	}
	var waiting []string
	for _, d := range a.registration.Declared {
		if n, known := byID[strings.ToLower(d.ID)]; a.registrationErr == nil && d.Application && known && !slices.Contains(a.token.Roles, n) {
			waiting = append(waiting, n)
		}
	}
	if len(waiting) > 0 {
		return []Check{failed(name, subject, remedy, "the registration asks for %s, and nobody has consented to it", strings.Join(waiting, ", "))}
	}
	return []Check{ok(name, subject, "an administrator has consented to %s", strings.Join(a.token.Roles, ", "))}
}

// checkCredential says when the secret or the certificate ends.
func checkCredential(t *tenant, a *application) []Check {
	if a.cfg.CertificateFile != "" {
		return []Check{checkAppCertificate(t, a)}
	}
	const name = "client_secret"
	subject := a.subject("")
	if why := unread(a.credErr); why != "" {
		return []Check{skipped(name, subject, "when it ends is not known: %s", why)}
	}
	inUse := slices.DeleteFunc(slices.Clone(a.credentials), func(c graph.Credential) bool { return c.Kind != graph.CredentialSecret || !c.InUse })
	if len(inUse) == 0 {
		return []Check{warning(name, subject, "make a new secret in Entra and put its value into client_secret_file", "the registration lists no secret that begins as the configured one does, although Entra took it: it was deleted just now, or belongs to the enterprise application; when it ends is not known")}
	}
	// Of several that begin alike, the one that ends last is meant: an ended one would not have been taken.
	last := slices.MaxFunc(inUse, func(a, b graph.Credential) int { return a.Expires.Compare(b.Expires) })
	return []Check{ending(name, subject, "the secret", last.Expires, t.site.now, "make a new client secret in Entra and put its value into client_secret_file; the old one stays good meanwhile")}
}

// unread is why the registration could not be read; "" if it was.
func unread(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, errNoToken):
		return errNoToken.Error()
	case graph.IsKind(err, graph.ConsentMissing):
		return "Application.Read.All (application, optional) is not granted"
	case graph.IsKind(err, graph.Gone):
		return "the application is registered in another tenant than this one"
	}
	return err.Error()
}

func checkAppCertificate(t *tenant, a *application) Check {
	const name = "client_certificate"
	subject := a.subject("")
	switch {
	case a.certErr != nil:
		return failed(name, subject, "give a PEM or PKCS#12 file with an RSA key and its certificate", "%v", a.certErr)
	case a.certificate == nil:
		return failed(name, subject, "give a PEM or PKCS#12 file with an RSA key and its certificate", "there is no certificate in certificate_file")
	case a.certificate.NotBefore.After(t.site.now):
		return failed(name, subject, "wait, or make another certificate; and check this machine's clock", "it is not valid before %s", clock(a.certificate.NotBefore))
	}
	return ending(name, subject, "the certificate", a.certificate.NotAfter, t.site.now,
		"make a new certificate, register it with the application beside the old one, then replace certificate_file")
}

// ending judges when a credential ends.
func ending(name, subject, what string, end, now time.Time, remedy string) Check {
	left := end.Sub(now)
	switch {
	case left <= 0:
		return failed(name, subject, remedy, "%s ended on %s", what, day(end))
	case left <= secretSoon:
		return warning(name, subject, remedy, "%s ends on %s, in %s", what, day(end), days(left))
	}
	return ok(name, subject, "%s ends on %s, in %s", what, day(end), days(left))
}

// checkRedirect looks for the redirect URI, which signing monitors in through a browser needs.
func checkRedirect(t *tenant, a *application) []Check {
	const name = "redirect_uri"
	want, subject := setup.RedirectURI(t.site.cfg.PublicURL), a.subject("")
	have := a.registration.RedirectURIs
	switch {
	case len(t.upns()) == 0:
		return []Check{skipped(name, subject, "there are no monitors to sign in")}
	case want == "":
		return []Check{skipped(name, subject, "there is no public_url")}
	case a.registrationErr != nil:
		return []Check{skipped(name, subject, "whether %s is registered is not known: %s", want, unread(a.registrationErr))}
	case have == nil:
		return []Check{skipped(name, subject, "whether %s is registered is not known: the registration does not show its platform Web", want)}
	case slices.Contains(have, want):
		return []Check{ok(name, subject, "%s is registered", want)}
	}
	for _, uri := range have {
		if strings.EqualFold(uri, want) || strings.EqualFold(strings.TrimRight(uri, "/"), want) {
			return []Check{failed(name, subject, "register exactly "+want+": Entra compares letter by letter", "%s is registered, which is not the same", uri)}
		}
	}
	remedy := "Entra > App registrations > Authentication > Web: add " + want + "; signing in by device code works without it"
	text := want + " is not registered: signing a monitor in by redirect will end in AADSTS50011"
	if t.signedIn(a) {
		return []Check{warning(name, subject, remedy, "%s; at present all monitors are signed in", text)}
	}
	return []Check{failed(name, subject, remedy, "%s", text)}
}

// signedIn tells whether the running bridge has every monitor signed in for the application.
func (t *tenant) signedIn(a *application) bool {
	return t.monitorsErr == nil && !slices.ContainsFunc(t.monitors, func(m api.Monitor) bool {
		return m.State != "authorized" && (m.ClientID == "" || strings.EqualFold(m.ClientID, a.cfg.ClientID))
	})
}

package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// validator checks what single values cannot show.
type validator struct {
	*report
	config  *Config
	options Options
}

func (v *validator) all() {
	c := v.config
	v.listen("listen.webhook", c.Listen.Webhook)
	v.listen("listen.admin", c.Listen.Admin)
	if c.Listen.Webhook == c.Listen.Admin {
		v.add("listen.admin", "is the same address as listen.webhook", "give each listener its own port")
	}
	v.adminExposure()
	if c.DataDir == "" {
		v.add("data_dir", "is empty", "name a folder, for example /var/lib/presence-bridge")
	}
	v.pair("tls.certificate_file", c.TLS.CertificateFile, "tls.key_file", c.TLS.KeyFile)
	v.publicURL()
	v.nats()
	v.roles()
	v.webhook()
	v.accounts()
	if v.options.Files {
		v.files()
	}
}

func (v *validator) has(role Role) bool { return slices.Contains(v.options.Roles, role) }

// listen checks an address to listen on.
func (v *validator) listen(path, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		v.add(path, fmt.Sprintf("%q is not an address to listen on", clip(address)), `write host:port, for example "127.0.0.1:8080", or ":8443" for every address of the machine`)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.add(path, fmt.Sprintf("port %q is not a number from 0 to 65535", clip(port)), "write host:port")
	} else if n == 0 {
		v.warn(path, "port 0 lets the system choose", "give a port that Graph or Prometheus can find")
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil && !validHost(host) {
		v.add(path, fmt.Sprintf("%q is neither an address nor a host name", clip(host)), "write host:port")
	}
}

func (v *validator) adminExposure() {
	if host, _, err := net.SplitHostPort(v.config.Listen.Admin); err == nil && !loopback(host) {
		v.warn("listen.admin", "the admin listener is reachable from other machines and speaks plain HTTP", "keep it on 127.0.0.1, or let only a trusted network reach it")
	}
}

// pair checks that two keys are given together or not at all.
func (v *validator) pair(a, aValue, b, bValue string) {
	switch {
	case aValue != "" && bValue == "":
		v.add(b, "is missing", "it must be given together with "+a)
	case aValue == "" && bValue != "":
		v.add(a, "is missing", "it must be given together with "+b)
	}
}

func (v *validator) publicURL() {
	c := v.config
	monitored := slices.ContainsFunc(c.Accounts, func(a Account) bool { return len(a.Monitors) > 0 })
	if c.PublicURL == "" {
		if monitored && v.has(RoleEngine) {
			v.add("public_url", "is missing", "give the address at which Graph reaches listen.webhook, for example https://bridge.example.com")
		}
		return
	}
	u, ok := v.url("public_url", c.PublicURL)
	if !ok {
		return
	}
	if u.Scheme != "https" && !loopback(u.Hostname()) {
		v.add("public_url", "must begin with https://", "Graph sends notifications over HTTPS only; plain HTTP works on loopback addresses, with simulators")
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
}

// url checks an absolute HTTP address without user, query and fragment.
func (v *validator) url(path, text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		v.add(path, fmt.Sprintf("%q is not an address", clip(redactURL(text))), "write it in full, for example https://pbx.example.com")
	case u.Scheme != "https" && u.Scheme != "http":
		v.add(path, fmt.Sprintf("scheme %q is not supported", clip(u.Scheme)), "begin it with https://")
	case u.User != nil:
		v.add(path, "holds a user name or password", "remove them; secrets are given as files")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		v.add(path, "has a query or fragment", "remove everything from the ? or # on")
	case u.Port() != "" && !validPort(u.Port()):
		v.add(path, fmt.Sprintf("port %q is not a number from 1 to 65535", clip(u.Port())), "correct or remove it")
	default:
		return u, true
	}
	return nil, false
}

// redactURL hides what may be a password before it is shown.
func redactURL(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "…" + text[i:]
	}
	return text
}

func (v *validator) nats() {
	n := v.config.NATS
	if n.URL == "" {
		v.needsNATS("nats.credentials_file", n.CredentialsFile)
		v.needsNATS("nats.ca_file", n.CAFile)
		return
	}
	for text := range strings.SplitSeq(n.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			v.add("nats.url", fmt.Sprintf("%q is not the address of a NATS server", clip(redactURL(text))), "write nats://host:4222, or tls://host:4222")
		} else if u.User != nil {
			v.add("nats.url", "holds a user name or password", "use nats.credentials_file")
		}
	}
}

func (v *validator) needsNATS(path, value string) {
	if value != "" {
		v.add(path, "is given without nats.url", "give nats.url, or remove it: the embedded bus needs none")
	}
}

// roles checks what several processes need: a common bus, and keys that none of them made for itself
// (design: embedded means one process).
func (v *validator) roles() {
	c := v.config
	all := len(v.options.Roles) == len(AllRoles())
	if c.NATS.URL == "" {
		if !all {
			v.add("nats.url", "is missing, but this process has only the roles "+roleList(v.options.Roles), "roles in processes of their own need an external NATS server; give its address, or run all roles in one process")
		}
		return
	}
	if v.has(RoleEngine) && c.MasterKeyFile == "" {
		v.add("master_key_file", "is missing", "with nats.url every replica needs the same key: make one with (umask 077; head -c 32 /dev/urandom | base64 > FILE) and give it to all of them")
	}
	if v.has(RoleWebhook) && !v.has(RoleEngine) && c.WebhookKeyFile == "" {
		v.add("webhook_key_file", "is missing", "a receiver of its own derives clientState from this key: make one with (umask 077; head -c 32 /dev/urandom | base64 > FILE) and give it to the engine role too")
	}
	if v.has(RoleEngine) && !v.has(RoleWebhook) && c.WebhookKeyFile == "" {
		v.warn("webhook_key_file", "is missing, so clientState is derived from the master key", "receivers in processes of their own must have the same key: give this role the webhook_key_file that they have")
	}
	if v.has(RoleConsole) && c.Admin.TokenFile == "" {
		v.add("admin.token_file", "is missing", "with nats.url keys are never made by the bridge: make a token with (umask 077; head -c 32 /dev/urandom | base64 > FILE)")
	}
}

func roleList(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ",")
}

// embeddedBody is the largest body that fits a message of the embedded bus, 9 MiB with its headers.
const embeddedBody = 8 << 20

func (v *validator) webhook() {
	c := v.config
	if c.NATS.URL == "" && c.Webhook.MaxBody > embeddedBody {
		v.add("webhook.max_body", fmt.Sprintf("%s is more than the embedded bus takes in one message", c.Webhook.MaxBody), "use at most 8MiB, or an external NATS server (nats.url)")
	}
}

// namePattern is what the bus can carry in subjects and keys as it is.
var namePattern = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// validName reports whether a name can stand in subjects and keys; x- and h- mark encoded names there.
func validName(name string) bool {
	return namePattern.MatchString(name) && !strings.HasPrefix(name, "x-") && !strings.HasPrefix(name, "h-")
}

func (v *validator) name(path, name string) bool {
	switch {
	case name == "":
		v.add(path, "is missing", "give a name of 1 to 32 of a-z, 0-9 and -")
	case !namePattern.MatchString(name):
		v.add(path, fmt.Sprintf("%q is not a name", clip(name)), "use 1 to 32 of a-z, 0-9 and -")
	case !validName(name):
		v.add(path, fmt.Sprintf("%q begins with x- or h-", name), "choose another beginning: these mark encoded names on the bus")
	default:
		return true
	}
	return false
}

func (v *validator) guid(path, text string) {
	if text == "" {
		v.add(path, "is missing", "copy it from the overview page of the app registration")
		return
	}
	if _, err := uuid.Parse(text); err != nil || len(text) != 36 {
		v.add(path, fmt.Sprintf("%q is not a GUID", clip(text)), "copy it from the overview page of the app registration, in the form 00000000-0000-0000-0000-000000000000")
	}
}

func (v *validator) upn(path, upn string) {
	local, domain, ok := strings.Cut(upn, "@")
	if !ok || local == "" || !strings.Contains(domain, ".") && domain != "localhost" || strings.ContainsAny(upn, " \t\r\n,;<>\"\\/") || strings.Count(upn, "@") != 1 || len(upn) > 320 {
		v.add(path, fmt.Sprintf("%q is not a user principal name", clip(upn)), "write it in full, for example presence1@contoso.com")
	}
}

// loopback reports whether a host is this very machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || (ip != nil && ip.IsLoopback())
}

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

func validHost(host string) bool { return len(host) <= 253 && hostPattern.MatchString(host) }

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

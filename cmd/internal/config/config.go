// Package config reads the bridge's configuration: one YAML file, overridden key by key by
// PRESENCE_BRIDGE_ environment variables. Every problem is found in one go and says where it is,
// what is wrong and what to write instead. The names of the keys, their defaults, limits and
// meanings stand once, in the tags of the structs in this file: decoding, environment names,
// limits and the output of [Describe] all follow from them.
//
// The tags: yaml is the key's name; default its value when absent; min and max its limits, both
// allowed; path says that it names a file or folder, which is taken from the configuration file's
// folder when relative; item names the key that tells the entries of a list apart, in environment
// names too, "-" that its first key is all an entry needs; short names the key for which an entry may be written as a
// single value; doc is what the key means.
package config

import (
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/presence"
)

// Config is the whole configuration. Values are complete: a key that was absent has its default.
type Config struct {
	Listen         Listen        `yaml:"listen" doc:"Addresses the bridge listens on, as host:port. Without a host: all of the machine's addresses."`
	PublicURL      string        `yaml:"public_url" doc:"Where Microsoft Graph reaches the webhook listener from the internet, without the part after /graph. HTTPS, except on a loopback address. Needed as soon as an account has monitors."`
	DataDir        string        `yaml:"data_dir" default:"/var/lib/presence-bridge" path:"dir" doc:"Folder for everything that must survive a restart: the embedded bus, and the keys that are made on first start. One process at a time."`
	TLS            TLS           `yaml:"tls" doc:"Certificate of the webhook listener. Absent: plain HTTP, for behind a proxy that ends TLS or on a loopback address."`
	NATS           NATS          `yaml:"nats" doc:"The bus. Without url it runs inside the bridge, under data_dir."`
	MasterKeyFile  string        `yaml:"master_key_file" path:"file" doc:"Key that seals tokens and private keys at rest. Absent: data_dir/master.key, made on first start. Must be given with nats.url, because every replica needs the same one. presence-bridge keys rotate puts a new key on its first line; further lines are older keys, which only open what was sealed before, and what subscriptions made before are recognised by. It is read again when it changes."`
	WebhookKeyFile string        `yaml:"webhook_key_file" path:"file" doc:"Key from which the clientState of subscriptions is derived: the only secret that the webhook role needs. A new one goes on a line of its own in front of the old one, which is accepted as long as it stays there; then keys rotate --keep-file has the subscriptions made anew. It is read again when it changes. Absent: derived from the master key."`
	Admin          Admin         `yaml:"admin" doc:"The admin listener."`
	Webhook        Webhook       `yaml:"webhook" doc:"Limits of the public receiver."`
	Log            Log           `yaml:"log" doc:"The program's own log, on standard error."`
	History        time.Duration `yaml:"history" default:"24h" min:"0" max:"720h" doc:"How long observations (the open feed, policy replay) and decisions (users explain) are kept. 0: neither is kept."`
	Accounts       []Account     `yaml:"accounts" item:"name" doc:"The Microsoft 365 tenants that this bridge serves, each with its PBXs and its policy."`

	// Warnings are remarks that do not keep the bridge from running.
	Warnings []Problem `yaml:"-"`
}

// Listen holds the listeners' addresses.
type Listen struct {
	Webhook string `yaml:"webhook" default:":8443" doc:"The public listener: Graph's notifications and the redirect after an authorisation."`
	Admin   string `yaml:"admin" default:"127.0.0.1:8080" doc:"The admin listener: metrics, health, API and console. Not for the internet."`
}

// TLS is a certificate with its key.
type TLS struct {
	CertificateFile string `yaml:"certificate_file" path:"file" doc:"PEM file with the certificate and its chain. Given together with key_file or not at all."`
	KeyFile         string `yaml:"key_file" path:"file" doc:"PEM file with the private key of certificate_file."`
}

// NATS says where the bus is and how it stores.
type NATS struct {
	URL             string `yaml:"url" doc:"Address of an external NATS server or cluster with JetStream (nats://, tls://, ws:// or wss://; several separated by commas). Empty: the bus runs inside the bridge."`
	CredentialsFile string `yaml:"credentials_file" path:"file" doc:"NATS credentials (.creds) for url."`
	CAFile          string `yaml:"ca_file" path:"file" doc:"PEM file with the authorities that sign the certificate of url. Empty: the system's."`
	Sync            Sync   `yaml:"sync" default:"always" min:"10ms" max:"10m" doc:"When the embedded bus forces stored messages to the disk: always (before each acknowledgement) or at an interval, whose last messages a power cut may cost. Ignored with url."`
	MaxStore        Size   `yaml:"max_store" default:"8GiB" min:"64MiB" max:"1PiB" doc:"Most disk space that the bus may take. When it is full, notifications are answered with 503, so that Graph sends them again later."`
	MinFree         Size   `yaml:"min_free" default:"1GiB" min:"0" max:"1PiB" doc:"Free space on the disk of data_dir below which notifications are answered with 503. Ignored with url."`
}

// Admin configures the admin listener.
type Admin struct {
	TokenFile string `yaml:"token_file" path:"file" doc:"File with the bearer token of the admin API. Absent: data_dir/admin-token, made on first start. Must be given when the console role runs without the engine role, or with nats.url."`
}

// Webhook holds the public receiver's limits.
type Webhook struct {
	MaxBody  Size          `yaml:"max_body" default:"8MiB" min:"64KiB" max:"64MiB" doc:"Largest notification body; a larger one is answered with 413 and counted. Graph may echo 28 KB of filter per item, and a body may hold many items. At most 8MiB with the embedded bus."`
	Deadline time.Duration `yaml:"deadline" default:"2500ms" min:"100ms" max:"2900ms" doc:"Longest time until a notification is answered; past it the answer is 503. Graph counts an answer after 3 s as slow and then holds notifications back."`
}

// Log configures the log.
type Log struct {
	Level  string `yaml:"level" default:"info" oneof:"debug info warn error" doc:"Least level that is written. Names, presence and addresses of people appear at debug only."`
	Format string `yaml:"format" default:"text" oneof:"text json" doc:"How a line is written."`
}

// Account is one tenant with its PBXs and its policy.
type Account struct {
	Name       string        `yaml:"name" doc:"Name of the account in addresses, metrics and commands: 1 to 32 of a-z, 0-9 and -, not beginning with x- or h-. It stays for good: stored state is found by it."`
	Graph      Graph         `yaml:"graph" doc:"Access to the tenant."`
	Monitors   []Monitor     `yaml:"monitors" item:"-" doc:"Ordinary users of the tenant, each of which signs in once for the bridge (monitors authorize) and then carries the presence of up to 650 members. Members without a place are read by the sweep only."`
	PBX        []PBX         `yaml:"pbx" item:"name" doc:"The PBXs whose users are members of this account."`
	Policy     Policy        `yaml:"policy" doc:"What is made of a state of the one side on the other: a preset (micollab, 3cx, sip) and rules of one's own. Absent: the preset of the PBX's type."`
	Mode       string        `yaml:"mode" default:"bridge" oneof:"bridge observe" doc:"With observe everything is decided, recorded and explained, and nothing is written, neither to Teams nor to a PBX: to see what the bridge would do. What it asserted before is first given back, as for people who are excluded."`
	Exclude    []Exclusion   `yaml:"exclude" item:"-" short:"upn" doc:"People who are not bridged, each a UPN, or {upn, direction} for one direction only. What the bridge asserted for them is withdrawn."`
	Directory  Directory     `yaml:"directory" doc:"How people and PBX users are brought together."`
	Sweep      Sweep         `yaml:"sweep" doc:"The periodic reading of everybody's presence from Teams, which bounds how long anything can stay wrong."`
	Lease      time.Duration `yaml:"lease" default:"5m" min:"5m" max:"4h" doc:"How long a state asserted in Teams lasts unless it is renewed: whatever happens to the bridge, nobody shows it for longer. Graph allows 5m to 4h."`
	HoldDown   time.Duration `yaml:"hold_down" default:"3s" min:"0" max:"5m" doc:"Least time between two writes for one person on a PBX. The first change goes at once; of those in between the last one wins."`
	WriteGrace time.Duration `yaml:"write_grace" default:"30s" min:"1s" max:"10m" doc:"How long past its timeout an unanswered write is taken to be under way still. Nothing else is written there meanwhile."`
	Teams      Teams         `yaml:"teams" doc:"Timing of writes to Teams."`
	Competing  Competing     `yaml:"competing_writers" doc:"When another program is taken to fight over what the bridge writes, and what then: 3CX's own synchronisation with Teams, for example."`
	Budgets    Budgets       `yaml:"budgets" doc:"How many Graph requests the bridge allows itself for this account."`

	Subscriptions Subscriptions `yaml:"subscriptions" doc:"When presence subscriptions are made anew."`
}

// Graph is the access to a tenant.
type Graph struct {
	TenantID                string        `yaml:"tenant_id" doc:"Directory (tenant) id, a GUID."`
	ClientID                string        `yaml:"client_id" doc:"Application (client) id of the app registration, a GUID."`
	ClientSecretFile        string        `yaml:"client_secret_file" path:"file" doc:"File with the client secret. It is read again when it changes. Either this or certificate_file."`
	CertificateFile         string        `yaml:"certificate_file" path:"file" doc:"File with the application's certificate and private key, PEM or PKCS#12 (.pfx). Either this or client_secret_file."`
	CertificatePasswordFile string        `yaml:"certificate_password_file" path:"file" doc:"File with the password of certificate_file, where it has one."`
	Cloud                   string        `yaml:"cloud" default:"global" oneof:"global usgov-l4 usgov-l5 china" doc:"Microsoft's cloud that the tenant lives in. Only global has presence subscriptions; elsewhere the sweep covers everybody."`
	Applications            []Application `yaml:"applications" item:"-" doc:"Further app registrations of the same tenant, beside client_id. Each multiplies the capacity: a monitor carries 650 members for each application that it was signed in for. They need Presence.Read.All (delegated), and better Presence.Read.All (application) too, so that reads, the sweep's and those that confirm, are spread over all; only client_id sets presence. Append new ones at the end: whatever changes place needs its sign-ins anew."`
	Endpoints               Endpoints     `yaml:"endpoints" doc:"Other addresses than the cloud's own, for simulators."`
}

// Endpoints override the addresses of a cloud.
type Endpoints struct {
	Login  string `yaml:"login" doc:"Address of the login service. HTTPS. Discovery is then off, and the keys of validation tokens come from there too."`
	Graph  string `yaml:"graph" doc:"Address of Graph, without the version. HTTPS."`
	CAFile string `yaml:"ca_file" path:"file" doc:"PEM file with the authorities that sign the certificates of these addresses. Empty: the system's."`
}

// Exclusion is a person who is not bridged, in one direction or at all.
type Exclusion struct {
	UPN       string `yaml:"upn" doc:"User principal name of the person."`
	Direction string `yaml:"direction" default:"both" oneof:"both teams_to_pbx pbx_to_teams" doc:"What does not cross: teams_to_pbx leaves their phone alone, pbx_to_teams leaves their Teams alone."`
}

// Observing reports whether the account only observes.
func (a *Account) Observing() bool { return a.Mode == "observe" }

// Monitor is a user that carries a presence subscription.
type Monitor struct {
	UPN                     string `yaml:"upn" doc:"User principal name of the monitor. Not a Global Administrator."`
	ClientSecretFile        string `yaml:"client_secret_file" path:"file" doc:"File with a client secret of the application client_id for this monitor alone, for organisations that demand one for each. It is read again when it changes. Absent: the account's credential, or the secret given with monitors add or renew."`
	CertificateFile         string `yaml:"certificate_file" path:"file" doc:"The same with a certificate and its private key, PEM or PKCS#12 (.pfx). Instead of client_secret_file."`
	CertificatePasswordFile string `yaml:"certificate_password_file" path:"file" doc:"File with the password of certificate_file, where it has one."`
}

// Application is a further app registration of the tenant.
type Application struct {
	ClientID                string `yaml:"client_id" doc:"Application (client) id of the app registration, a GUID."`
	ClientSecretFile        string `yaml:"client_secret_file" path:"file" doc:"File with its client secret. Either this or certificate_file."`
	CertificateFile         string `yaml:"certificate_file" path:"file" doc:"File with its certificate and private key, PEM or PKCS#12 (.pfx). Either this or client_secret_file."`
	CertificatePasswordFile string `yaml:"certificate_password_file" path:"file" doc:"File with the password of certificate_file, where it has one."`
}

// Subscriptions says when presence subscriptions are made anew. Graph cannot change the list of people in one.
type Subscriptions struct {
	JoinDelay  time.Duration `yaml:"join_delay" default:"2m" min:"1s" max:"1h" doc:"How long people who join are collected before their subscription is made anew. Until then they are polled."`
	LeaveDelay time.Duration `yaml:"leave_delay" default:"1h" min:"1s" max:"24h" doc:"How long a subscription goes on watching people who left, when nobody joins. What it says about them is ignored."`
	RotateOver time.Duration `yaml:"rotate_over" default:"1h" min:"1s" max:"24h" doc:"Over how long subscriptions are made anew, one after the other, after keys rotate or keys rotate-certificate."`
}

// PBX is one PBX.
type PBX struct {
	Name             string        `yaml:"name" doc:"Name of the PBX within the account: 1 to 32 of a-z, 0-9 and -, not beginning with x- or h-."`
	Type             string        `yaml:"type" doc:"Kind of PBX. Known: micollab, 3cx, sip."`
	URL              string        `yaml:"url" doc:"Address of the PBX's interface. Plain HTTP only for loopback addresses or where nobody can listen in. sip: of the presence server, sip:pbx.example.com:5060;transport=tcp (or udp, or tls), or sips:pbx.example.com."`
	TokenFile        string        `yaml:"token_file" path:"file" doc:"micollab: file with the bearer token."`
	ClientID         string        `yaml:"client_id" doc:"3cx: client id of the API client (Integrations > API), with Configuration API and Call Control API access. One bridge only may use it: each new token ends the one before."`
	ClientSecretFile string        `yaml:"client_secret_file" path:"file" doc:"3cx: file with the API client's key. It is read again when it is refused."`
	PollInterval     time.Duration `yaml:"poll_interval" min:"1s" max:"5m" doc:"3cx: how often everybody's status is read, since a 3CX tells of calls only. Default 5s."`
	Username         string        `yaml:"username" doc:"sip: user of the PBX that the bridge subscribes and publishes as: the user part alone."`
	PasswordFile     string        `yaml:"password_file" path:"file" doc:"sip: file with the password of username, for digest authentication. It is read again when it is refused. Absent: the PBX trusts the bridge by its address."`
	Domain           string        `yaml:"domain" doc:"sip: domain of the extensions and of username. Absent: the host of url."`
	UsersFile        string        `yaml:"users_file" path:"file" doc:"sip: file that lists the extensions, since SIP has no directory: CSV with a line of titles, or YAML (.yaml, .yml) with a list of maps; extension, uri, mail, name. Without uri it is EXTENSION@domain. Read again whenever it changes. Either this or list_uri, or both."`
	ListURI          string        `yaml:"list_uri" doc:"sip: address of a resource list (RFC 4662) that holds the extensions: one subscription instead of one for each. users_file may add their mail addresses."`
	CAFile           string        `yaml:"ca_file" path:"file" doc:"PEM file with the authorities that sign the certificate of url. Empty: the system's."`
	NumberPrefix     string        `yaml:"number_prefix" doc:"What stands before an extension of this PBX to make it a whole telephone number, for example +49301234: for the rule phone of directory.match."`
	WritesPerSecond  float64       `yaml:"writes_per_second" default:"20" min:"0.1" max:"1000" doc:"Most writes to this PBX, so that the end of an outage is no storm."`
	SnapshotInterval time.Duration `yaml:"snapshot_interval" default:"5m" min:"5s" max:"24h" doc:"How often every user of the PBX is read, against lost events."`
	Settle           time.Duration `yaml:"settle" default:"1s" min:"0" max:"5m" doc:"How long after an answered write a read may still show the state before, and is therefore not believed."`
	Timeout          time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"5m" doc:"Longest time for one request to the PBX."`
}

// Sweep says how often Teams is read through.
type Sweep struct {
	Interval       time.Duration `yaml:"interval" default:"60s" min:"1s" max:"1h" doc:"How often each member is read, subscribed or not."`
	PolledInterval time.Duration `yaml:"polled_interval" default:"15s" min:"1s" max:"1h" doc:"How often a member is read whom no subscription covers. At most interval."`
}

// Teams holds the timing of writes to Teams.
type Teams struct {
	Settle time.Duration `yaml:"settle" default:"5s" min:"0" max:"5m" doc:"How long after an answered write a read may still show the state before, and the least time between two writes for one person."`
}

// Budgets bound the requests to Graph of one account.
type Budgets struct {
	Reads         int     `yaml:"reads" default:"1500" min:"30" max:"10000" doc:"Reads per 30 s, for each application. Graph documents 1,500 on one page and 10,000 on another."`
	ConfirmShare  float64 `yaml:"confirm_share" default:"0.2" min:"0.05" max:"0.5" doc:"Part of reads that is kept for confirming reads, which also go ahead of everything."`
	SweepShare    float64 `yaml:"sweep_share" default:"0" min:"0" max:"0.45" doc:"Part of reads that the sweep may take, and not more. 0: 0.2, or 0.25 in a cloud without presence subscriptions."`
	Writes        int     `yaml:"writes" default:"1200" min:"30" max:"10000" doc:"Writes per 30 s to begin with. The most urgent go first: clearing, then setting, then renewing."`
	WritesMost    int     `yaml:"writes_most" default:"10000" min:"30" max:"100000" doc:"Up to where writes is raised, by a tenth every 30 s, while it is needed and Graph does not throttle. Equal to writes, or below: never."`
	Subscriptions int     `yaml:"subscriptions" default:"500" min:"20" max:"2000" doc:"Creations, renewals and deletions of subscriptions per 20 s."`
}

// Policy is an account's policy as it stands in the file, not yet understood.
type Policy struct {
	// YAML is the text of the policy; empty when absent. Its lines are those of the file, so that a
	// parser's line numbers mean the file's.
	YAML []byte
}

// NotificationURL is where Graph sends the account's notifications.
func (c *Config) NotificationURL(account string) string {
	return c.PublicURL + "/graph/" + account + "/notifications"
}

// LifecycleURL is where Graph sends the account's lifecycle notifications.
func (c *Config) LifecycleURL(account string) string {
	return c.PublicURL + "/graph/" + account + "/lifecycle"
}

// MasterKey is the file with the master key, and whether it may be made when it is absent.
func (c *Config) MasterKey() (file string, create bool) {
	if c.MasterKeyFile != "" {
		return c.MasterKeyFile, false
	}
	return filepath.Join(c.DataDir, "master.key"), c.NATS.URL == ""
}

// AdminToken is the file with the admin API's token, and whether it may be made when it is absent.
func (c *Config) AdminToken() (file string, create bool) {
	if c.Admin.TokenFile != "" {
		return c.Admin.TokenFile, false
	}
	return filepath.Join(c.DataDir, "admin-token"), c.NATS.URL == ""
}

// AdminURL is the address at which this machine reaches the admin listener.
func (c *Config) AdminURL() string {
	host, port, err := net.SplitHostPort(c.Listen.Admin)
	if err != nil {
		return "http://" + c.Listen.Admin
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
	return u.String()
}

// Account finds an account by its name.
func (c *Config) Account(name string) (Account, bool) {
	for _, a := range c.Accounts {
		if a.Name == name {
			return a, true
		}
	}
	return Account{}, false
}

// MonitorUPNs lists the account's monitors.
func (a *Account) MonitorUPNs() []string {
	upns := make([]string, 0, len(a.Monitors))
	for _, m := range a.Monitors {
		upns = append(upns, m.UPN)
	}
	return upns
}

// Excluded reports whether a person is not to be bridged at all. UPNs are compared without regard to case.
func (a *Account) Excluded(upn string) bool { return a.OptOut(upn) == presence.BothDirections }

// OptOut is what does not cross for a person, who has these names: UPN and mail, compared without regard to case.
func (a *Account) OptOut(names ...string) presence.Directions {
	var out presence.Directions
	for _, e := range a.Exclude {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(e.UPN, n) }) {
			out |= e.directions()
		}
	}
	return out
}

func (e Exclusion) directions() presence.Directions {
	if d, ok := presence.ParseDirections(e.Direction); ok {
		return d
	}
	return presence.BothDirections
}

// ExcludedUPNs lists the people who are not bridged in any direction.
func (a *Account) ExcludedUPNs() []string {
	var out []string
	for _, e := range a.Exclude {
		if a.Excluded(e.UPN) {
			out = append(out, e.UPN)
		}
	}
	return out
}

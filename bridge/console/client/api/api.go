// Package api is what the bridge's admin API says, as Go types: the wire format of /api/v1, in one
// place for the server (package console) and for the client (package client). The same is said in
// OpenAPI by console's openapi.yaml; a test keeps the two alike.
//
// Times are RFC 3339 in UTC. A list is never null. Members may be added to any object.
package api

import (
	"time"

	"presencebridge/bridge/presence"
)

// Limits of a page of members.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// MaxWait is the longest that a request may wait for news (parameter wait, in seconds).
const MaxWait = 60 * time.Second

// Accounts is the answer of GET /accounts.
type Accounts struct {
	Accounts []Account `json:"accounts"`
}

// Account is one tenant with its PBXs.
type Account struct {
	Name string `json:"name"`
	// Owner is the id of the replica that owns the account, "" when none answered.
	Owner    string `json:"owner,omitempty"`
	TenantID string `json:"tenant_id,omitempty"`
	// Members counts the members by their coverage.
	Members map[presence.Coverage]int `json:"members"`
	// Coverage says why members are not pushed, and what would change that; absent while nobody runs the account.
	Coverage *CoverageSum `json:"coverage,omitempty"`
	// Mode is bridge, or observe for an account that decides and records everything and writes nothing.
	Mode string `json:"mode,omitempty"`
	PBXs []PBX  `json:"pbxs"`
	// Credentials are the secrets and certificates of the application; CredentialsRemark says why they, or
	// some of them, are not known.
	Credentials       []Credential `json:"credentials,omitempty"`
	CredentialsRemark string       `json:"credentials_remark,omitempty"`
}

// Credential is a secret or certificate of the account's application, and when it ends.
type Credential struct {
	Kind      string    `json:"kind"` // secret or certificate
	KeyID     string    `json:"key_id,omitempty"`
	Name      string    `json:"name,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
	// InUse: it is, or may be, the configured one.
	InUse bool `json:"in_use"`
	// EndsWithinDays is 60, 30 or 7 when it ends within so many days, and 0 when it has ended; otherwise absent.
	EndsWithinDays *int `json:"ends_within_days,omitempty"`
	// Text says so with the remedy, for one in use.
	Text string `json:"text,omitempty"`
	// ClientID is the application's, Monitors those that have it for their own; none: it is the common one.
	ClientID string   `json:"client_id,omitempty"`
	Monitors []string `json:"monitors,omitempty"`
}

// PBX is one PBX of an account, and whether its connector has a connection.
type PBX struct {
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	Connected bool      `json:"connected"`
	SeenAt    time.Time `json:"seen_at,omitzero"` // when it was last heard of
	Detail    string    `json:"detail,omitempty"` // why it is not connected
}

// Members is a page of GET /accounts/{account}/members.
type Members struct {
	Members []Member `json:"members"`
	// Next is the parameter after of the next page; empty on the last one.
	Next string `json:"next"`
}

// Member is a person with both sides' state.
type Member struct {
	ID   string `json:"id"` // Entra object id
	UPN  string `json:"upn,omitempty"`
	Mail string `json:"mail,omitempty"`
	Name string `json:"name,omitempty"`

	Coverage presence.Coverage `json:"coverage"`
	// CoverageReasons say why the coverage is what it is: which monitor, or what is missing.
	CoverageReasons []string `json:"coverage_reasons,omitempty"`

	Teams     Teams      `json:"teams"`
	Endpoints []Endpoint `json:"endpoints"`

	Owner string `json:"owner,omitempty"` // id of the replica that owns the account
}

// Teams is what Teams shows for a member, and what of that is ours.
type Teams struct {
	Shown presence.Pair `json:"shown"`
	// Organic is the member's own state, when OrganicState is "seen"; otherwise the last one seen.
	Organic      presence.Pair `json:"organic"`
	OrganicState string        `json:"organic_state"` // seen, hidden (under an assertion of ours) or unknown
	Assertion    *Assertion    `json:"assertion,omitempty"`
	SeenAt       time.Time     `json:"seen_at,omitzero"`
	Source       string        `json:"source,omitempty"` // how it was learnt: push, sweep, readback
	Because      []string      `json:"because"`          // reasons of the last decision
	Pending      []string      `json:"pending,omitempty"`
	Would        *Would        `json:"would,omitempty"`
	Competing    *Competing    `json:"competing_writers,omitempty"`
}

// Would is what an account that only observes would have written to a side.
type Would struct {
	Value string    `json:"value"`
	Since time.Time `json:"since"`
}

// AlertCompetingWriters is the alert that is raised while another program fights over presence.
const AlertCompetingWriters = "PresenceBridgeCompetingWriters"

// Competing says that another program keeps changing what the bridge writes to a side, so that the bridge stays away from
// it: since when, and when it tries again. Alert is the alert that is raised meanwhile.
type Competing struct {
	Alert string    `json:"alert"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// Endpoint is one PBX endpoint of a member.
type Endpoint struct {
	PBX       string          `json:"pbx"`
	User      string          `json:"user"` // the PBX's own id
	Extension string          `json:"extension,omitempty"`
	Known     bool            `json:"known"` // false: not seen for a while, so that line and status say nothing
	Line      presence.Line   `json:"line"`
	Shown     presence.Status `json:"shown"`
	Organic   presence.Status `json:"organic"`
	Assertion *Assertion      `json:"assertion,omitempty"`
	Override  *Override       `json:"override,omitempty"`
	SeenAt    time.Time       `json:"seen_at,omitzero"`
	Source    string          `json:"source,omitempty"`
	Because   []string        `json:"because"`
	// Pending is what is still owed to this side, in words: a read, a write, an answer.
	Pending   []string   `json:"pending,omitempty"`
	Would     *Would     `json:"would,omitempty"`
	Competing *Competing `json:"competing_writers,omitempty"`
}

// Assertion is a state that the bridge has put on a side and keeps there.
type Assertion struct {
	Value string    `json:"value"` // "Busy/InACall", or a PBX status
	Class string    `json:"class"` // call, dnd, busy, away
	Phase string    `json:"phase"` // writing, standing, withdrawing
	Since time.Time `json:"since"`
	// Previous is what is given back when it ends; absent in Teams, where nothing has to be.
	Previous string `json:"previous,omitempty"`
	// From is the endpoint that is the cause, for an assertion in Teams.
	From string `json:"from,omitempty"`
	// Until is when it ends by itself, in Teams, unless it is prolonged.
	Until time.Time `json:"until,omitzero"`
	// Masked: the member's own choice, MaskedBy, outranks it, so that it does not show.
	Masked      bool      `json:"masked,omitempty"`
	MaskedBy    string    `json:"masked_by,omitempty"`
	MaskedSince time.Time `json:"masked_since,omitzero"`
}

// Override is a choice by hand that ended an assertion of ours.
type Override struct {
	Of    string    `json:"of"` // what policy wanted
	Since time.Time `json:"since"`
}

// Monitors is the answer of GET /accounts/{account}/monitors.
type Monitors struct {
	Monitors []Monitor `json:"monitors"`
}

// Monitor is a user who carries a presence subscription.
type Monitor struct {
	UPN    string    `json:"upn"`
	State  string    `json:"state"` // unset, authorizing, authorized, needs_update, needs_attention, retired
	Since  time.Time `json:"since,omitzero"`
	Code   string    `json:"code,omitempty"`   // why it needs attention: stable
	Text   string    `json:"text,omitempty"`   // the same in words
	Remedy string    `json:"remedy,omitempty"` // what to do about it
	// Before is the state under a sign-in that is under way: what the sign-in is needed for.
	Before *MonitorState `json:"before,omitempty"`
	// Application is the number, from 1, of the application that this place of the monitor is for, and ClientID its id; absent
	// where the account has one application. With several, each monitor is listed once for each.
	Application int    `json:"application,omitempty"`
	ClientID    string `json:"client_id,omitempty"`
	// OwnSecret: its tokens are fetched with a secret or certificate of its own.
	OwnSecret bool `json:"own_secret,omitempty"`
	// Added: it is not in the configuration, but was added while the bridge ran.
	Added      bool      `json:"added,omitempty"`
	SignedInAt time.Time `json:"signed_in_at,omitzero"`
	// Members is how many members its shard has; Capacity how many it can have.
	Members      int           `json:"members"`
	Capacity     int           `json:"capacity"`
	Subscription *Subscription `json:"subscription,omitempty"`
	// Misses counts the changes of the last ten minutes that the sweep saw and that no notification told.
	Misses int     `json:"misses,omitempty"`
	Remade *Remade `json:"remade,omitempty"`

	Owner string `json:"owner,omitempty"` // id of the replica that owns the account
}

// AddMonitorRequest is the body of POST /accounts/{account}/monitors.
type AddMonitorRequest struct {
	UPN string `json:"upn"`
	// ClientSecret is a client secret of the application for this monitor alone: of ClientID, or of the first. It is sealed and
	// never shown.
	ClientSecret string `json:"client_secret,omitempty"`
	ClientID     string `json:"client_id,omitempty"`
}

// String does not tell the secret.
func (r AddMonitorRequest) String() string { return "add " + r.UPN }

// GoString does not either.
func (r AddMonitorRequest) GoString() string { return r.String() }

// MonitorState is a state of a monitor with its story.
type MonitorState struct {
	State  string    `json:"state"`
	Since  time.Time `json:"since,omitzero"`
	Code   string    `json:"code,omitempty"`
	Text   string    `json:"text,omitempty"`
	Remedy string    `json:"remedy,omitempty"`
}

// Subscription is a monitor's presence subscription as Graph knows it.
type Subscription struct {
	ID        string    `json:"id"`
	ExpiresAt time.Time `json:"expires_at"`
	RenewedAt time.Time `json:"renewed_at,omitzero"`
	// HeardAt is when a notification last came through it.
	HeardAt time.Time `json:"heard_at,omitzero"`
}

// AuthorizationPending is the one state of an [Authorization] that is not final.
const AuthorizationPending = "pending"

// AuthorizationDone is the state of one that succeeded.
const AuthorizationDone = "authorized"

// Method is how a monitor is signed in.
type Method string

// The methods.
const (
	ByDeviceCode Method = "device_code" // a code is entered on Microsoft's page, on whatever machine
	ByRedirect   Method = "redirect"    // whoever ordered it opens URL now, within 15 min
	ByLink       Method = "copy_url"    // URL is sent to somebody else, who opens it within a day
)

// AuthorizeRequest is the body of the requests that begin a sign-in. It may be absent.
type AuthorizeRequest struct {
	Method Method `json:"method,omitempty"` // empty: device_code
	// ClientID is the application to sign in for; empty: the first that needs it.
	ClientID string `json:"client_id,omitempty"`
	// ClientSecret is a new client secret for this monitor alone; only renew takes one. It is sealed and never shown.
	ClientSecret string `json:"client_secret,omitempty"`
}

// String does not tell the secret.
func (r AuthorizeRequest) String() string { return "sign in by " + string(r.Method) }

// GoString does not either.
func (r AuthorizeRequest) GoString() string { return r.String() }

// Authorization is a sign-in for a monitor.
type Authorization struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	UPN     string `json:"upn"`
	// ClientID is the application that is signed in for.
	ClientID string `json:"client_id,omitempty"`
	Method   Method `json:"method"`
	// State is pending, authorized, declined, expired, or another word for how it failed.
	State   string `json:"state"`
	Code    string `json:"code,omitempty"` // Microsoft's, where it failed, such as AADSTS53003
	Message string `json:"message"`        // the state in a sentence, with the remedy if it failed
	// UserCode is what the person enters at VerificationURI, until ExpiresAt. Only while pending.
	UserCode        string `json:"user_code,omitempty"`
	VerificationURI string `json:"verification_uri,omitempty"`
	// URL is where the person signs in, until ExpiresAt; good once. Only while pending.
	URL       string    `json:"url,omitempty"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// Pending tells whether there is something to wait for.
func (a Authorization) Pending() bool { return a.State == AuthorizationPending }

// ResyncRequest is the body of POST /accounts/{account}/resync. It may be absent.
type ResyncRequest struct {
	// Member is an id, UPN or mail; empty means every member of the account.
	Member string `json:"member,omitempty"`
}

// JobState is how a job stands.
type JobState string

// The states of a job.
const (
	JobRunning JobState = "running"
	JobDone    JobState = "done"
	JobFailed  JobState = "failed"  // at least one account or member could not be read or written
	JobStopped JobState = "stopped" // the bridge was stopped meanwhile
)

// Job is a resync: both sides of each member in its scope are read in full and policy is applied again.
type Job struct {
	ID    string `json:"id"`
	Scope Scope  `json:"scope"`

	State JobState `json:"state"`
	Done  int      `json:"done"`  // members finished
	Total int      `json:"total"` // members in the scope; grows until all accounts have been counted
	// Revision grows with every change of the job. GET with revision and wait returns when it has.
	Revision uint64 `json:"revision"`

	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	Error      string    `json:"error,omitempty"`

	// ChangedCount counts the changes so far. Changed lists them once the job has finished, the
	// first [MaxChanges] of them.
	ChangedCount int      `json:"changed_count"`
	Changed      []Change `json:"changed"`
}

// Jobs is the answer of GET /jobs: newest first, without what they changed.
type Jobs struct {
	Jobs []Job `json:"jobs"`
}

// MaxChanges is how many changes a job lists.
const MaxChanges = 10_000

// Running tells whether there is something to wait for.
func (j Job) Running() bool { return j.State == JobRunning }

// Scope is what a job is about. Both empty: every member of every account.
type Scope struct {
	Account string `json:"account,omitempty"`
	Member  string `json:"member,omitempty"` // Entra object id
}

// Overlaps tells whether some member is in both scopes.
func (s Scope) Overlaps(o Scope) bool {
	if s.Account == "" || o.Account == "" {
		return true
	}
	return s.Account == o.Account && (s.Member == "" || o.Member == "" || s.Member == o.Member)
}

// String names the scope for a person.
func (s Scope) String() string {
	switch {
	case s.Account == "":
		return "every account"
	case s.Member == "":
		return "account " + s.Account
	default:
		return "member " + s.Member + " of account " + s.Account
	}
}

// Change is one thing that a resync changed: what the bridge knew, or what a side shows.
type Change struct {
	Account string `json:"account"`
	Member  string `json:"member"` // Entra object id
	UPN     string `json:"upn,omitempty"`
	Side    string `json:"side"` // teams, or pbx.<name>.<endpoint>
	Before  string `json:"before"`
	After   string `json:"after"`
	Reason  string `json:"reason,omitempty"`
}

// Problem is an error, after RFC 9457.
type Problem struct {
	Type   string `json:"type"` // about:blank, or urn:presence-bridge:problem:<code>
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Job is the running job's id, where that is the problem.
	Job string `json:"job,omitempty"`
	// Candidates are keys that exist, where one did not, the nearest first; or those that it could mean.
	Candidates []string `json:"candidates,omitempty"`
	// RequestID finds the request in the bridge's log.
	RequestID string `json:"request_id,omitempty"`
}

// ProblemJobRunning is the type of the 409 for a second resync of an overlapping scope.
const ProblemJobRunning = "urn:presence-bridge:problem:job-running"

// Health is the answer of /healthz.
type Health struct {
	Status  string `json:"status"` // ok
	Version string `json:"version,omitempty"`
}

// Readiness is the answer of /readyz: 200 if every check passes, otherwise 503.
type Readiness struct {
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks"`
}

// Check is one part of the readiness.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // why not
}

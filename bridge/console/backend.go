package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"presencebridge/bridge/console/client/api"
)

// Backend is the bridge as the console sees it. All methods are called concurrently. An account or a
// key that does not exist is a [NotFound]; other errors that the caller should read are made
// with [Conflict], [Invalid] and [Unavailable]. Any other error is logged, and the caller is told that
// something went wrong and no more. Nothing that is returned may hold a token, a key or a password.
type Backend interface {
	// Accounts lists the configured accounts, by name.
	Accounts(ctx context.Context) ([]api.Account, error)
	// Members returns one page of an account's members, in an order that does not change by itself.
	Members(ctx context.Context, account string, q MemberQuery) (api.Members, error)
	// Member finds one member by id, UPN, mail or extension, whatever the casing. A key that could mean several is a
	// [Conflict].
	Member(ctx context.Context, account, key string) (api.Member, error)
	// Explain says why that member looks as they do, or looked at some moment.
	Explain(ctx context.Context, account, key string, q ExplainQuery) (api.Explanation, error)
	// Directory returns one page of what was found when people and PBX users were brought together.
	Directory(ctx context.Context, account string, q DirectoryQuery) (api.Directory, error)
	// Monitors lists the monitors of an account, by UPN.
	Monitors(ctx context.Context, account string) ([]api.Monitor, error)
	// Authorize begins a sign-in for a configured monitor and returns as soon as there is a code or an
	// address; no method is the device code. What becomes of it goes on after ctx ends.
	Authorize(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error)
	// AddMonitor makes a user a monitor although it is not configured, or takes back one that was removed.
	AddMonitor(ctx context.Context, account string, in api.AddMonitorRequest) (api.Monitor, error)
	// RemoveMonitor deletes a monitor's subscription and wipes its secrets. What it returns may not be
	// retired yet, if that takes longer.
	RemoveMonitor(ctx context.Context, account, upn string) (api.Monitor, error)
	// RetryMonitor has a monitor that waits, or that was refused, tried again at once.
	RetryMonitor(ctx context.Context, account, upn string) (api.Monitor, error)
	// RenewMonitor has a monitor take up a new secret or another application. Where its sign-in is not
	// accepted with that, it begins one like Authorize.
	RenewMonitor(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error)
	// Reseal has every stored secret sealed again under the newest master key, after the key file was changed.
	Reseal(ctx context.Context) (api.Resealed, error)
	// Probe has Graph validate the account's public URLs, through a monitor that is free. It may take half a minute.
	Probe(ctx context.Context, account string) (api.Probe, error)
	// CheckPBXs tries every PBX of the account, in the order of the configuration. It may take a minute.
	CheckPBXs(ctx context.Context, account string) ([]api.PBXCheck, error)
	// RotateCertificate makes a new encryption certificate for an account's subscriptions.
	RotateCertificate(ctx context.Context, account string) (api.CertificateRotation, error)
	// Authorization says how a sign-in stands: at once, or, while it is pending, when it no longer
	// is, or after wait, or when ctx ends, whichever comes first; in none of these cases is that
	// an error.
	Authorization(ctx context.Context, account, id string, wait time.Duration) (api.Authorization, error)
	// ReplayPolicy runs what was observed in the account through its policy and another one. It calls each for
	// every difference, from time to time for the progress, and at the end for the summary; when each fails, it
	// returns that error.
	ReplayPolicy(ctx context.Context, account string, in api.ReplayRequest, each func(api.ReplayItem) error) error
	// Resync reads both sides of every member of the account in full, or of the member with that id
	// alone, applies policy again, and returns when all of it has been carried out or has
	// failed. It calls report from time to time, never concurrently, and not after it has returned.
	// It must return soon after ctx ends.
	Resync(ctx context.Context, account, member string, report func(Progress)) error
}

// MemberQuery asks for a page of members.
type MemberQuery struct {
	After string // Next of the page before; empty for the first
	Limit int    // 1 to [api.MaxLimit]
	Text  string // part of a name, UPN, mail, extension or id, whatever the casing; empty for all
}

// ExplainQuery says what is to be explained.
type ExplainQuery struct {
	At    time.Time      // zero: now
	Since time.Time      // where what happened begins; zero: at the cause of what shows, at the latest an hour ago, or ten minutes before At
	Zone  *time.Location // of the times in sentences; not nil
}

// Progress is how far a resync has come.
type Progress struct {
	Done, Total int          // members, since it began
	Changed     []api.Change // since the last report
}

// Error is an error of a Backend that the caller should read.
type Error struct {
	status int
	Detail string
	// Candidates are keys that exist where the one asked for does not, or that it could mean.
	Candidates []string
}

// WithCandidates adds them to an error that was made here; any other stays as it is.
func WithCandidates(err error, candidates []string) error {
	var e *Error
	if errors.As(err, &e) {
		e.Candidates = candidates
	}
	return err
}

func (e *Error) Error() string { return e.Detail }

func newError(status int, format string, args []any) *Error {
	return &Error{status: status, Detail: fmt.Sprintf(format, args...)}
}

// NotFound is about an account, member, monitor or sign-in that does not exist.
func NotFound(format string, args ...any) error { return newError(http.StatusNotFound, format, args) }

// Conflict is about something that cannot be done as things are.
func Conflict(format string, args ...any) error { return newError(http.StatusConflict, format, args) }

// Invalid is about a request that makes no sense.
func Invalid(format string, args ...any) error { return newError(http.StatusBadRequest, format, args) }

// Unavailable is about something that may work later: the owner of the account cannot be reached.
func Unavailable(format string, args ...any) error {
	return newError(http.StatusServiceUnavailable, format, args)
}

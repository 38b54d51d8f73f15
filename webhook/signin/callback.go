package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// Answer is what the browser brought back: a code, or the reason why there is none (RFC 6749 section 4.1.2).
type Answer struct {
	State       string `json:"state"`
	Code        string `json:"code,omitempty"`
	Error       string `json:"error,omitempty"`
	Description string `json:"description,omitempty"`
}

// String tells neither the state nor the code.
func (Answer) String() string { return "answer of a sign-in" }

// GoString does not either.
func (a Answer) GoString() string { return a.String() }

// Outcome is what became of a sign-in.
type Outcome struct {
	// Done: the monitor is authorised.
	Done bool
	// Pending: the owner of the account is still at it.
	Pending bool
	// UPN is the monitor that was to be authorised.
	UPN string
	// Text says what happened and what to do, in a sentence or two.
	Text string
	// Code is Entra's code for it, such as AADSTS65004.
	Code string
}

// ErrUnknown is wrapped when the account knows no such sign-in: it was finished, is over or was superseded.
var ErrUnknown = errors.New("signin: unknown state")

// Config is what a callback needs.
type Config struct {
	// Key is what states are signed with: the receiver's own. At least 16 bytes.
	Key []byte
	// Keys are all keys whose states are accepted: a link that was sent before a rotation is good still. nil: Key alone.
	Keys func() [][]byte
	// Finish hands the answer to the owner of the account. It returns soon after ctx ends.
	Finish func(ctx context.Context, account string, a Answer) (Outcome, error)
	// Patience bounds Finish. Default 10 s.
	Patience time.Duration
	Log      *slog.Logger // default: discard
}

// Limits of what is taken from a request's query, in bytes. Entra's codes have one to two thousand.
const (
	maxCode = 8 << 10
	maxText = 2 << 10
)

// New makes the handler of GET [Path].
func New(cfg Config) (http.Handler, error) {
	if len(cfg.Key) < minKey || cfg.Finish == nil {
		return nil, errors.New("signin: Config.Key and Config.Finish are needed")
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &callback{cfg}, nil
}

type callback struct{ cfg Config }

// ServeHTTP finishes a sign-in. A state that is not ours costs nothing but the HMAC.
func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	a := Answer{State: q.Get("state"), Code: q.Get("code"), Error: cut(q.Get("error")), Description: cut(q.Get("error_description"))}
	account, ours := c.account(a.State)
	switch {
	case !ours:
		show(w, http.StatusBadRequest, page{Title: "This is no sign-in of ours",
			Text: "The address is incomplete or was not made by this bridge. Begin the sign-in again, and open the link as it was given."})
		return
	case len(a.Code) > maxCode, a.Code == "" && a.Error == "":
		show(w, http.StatusBadRequest, page{Title: "The sign-in is incomplete", Text: "Microsoft's answer held no code. Begin the sign-in again."})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.cfg.Patience)
	defer cancel()
	out, err := c.cfg.Finish(ctx, account, a)
	switch {
	case errors.Is(err, ErrUnknown):
		show(w, http.StatusGone, page{Title: "This sign-in is over",
			Text: "The link was used already, has expired, or was replaced by a newer one. Begin the sign-in again."})
	case err != nil:
		c.cfg.Log.Warn("a sign-in could not be handed to the owner of the account", "account", account, "error", err)
		show(w, http.StatusServiceUnavailable, page{Title: "The bridge could not finish the sign-in",
			Text: "The part of the bridge that runs this account did not answer. Open the link again in a minute, or begin anew."})
	case out.Pending:
		show(w, http.StatusAccepted, page{Title: "Signed in, not finished yet", UPN: out.UPN,
			Text: "The bridge is still at it. presence-bridge monitors list says how it went; you can close this window."})
	case out.Done:
		show(w, http.StatusOK, page{Title: "The monitor is authorised", UPN: out.UPN, Text: "You can close this window."})
	default:
		show(w, http.StatusForbidden, page{Title: "The monitor was not authorised", UPN: out.UPN, Text: out.Text, Code: out.Code})
	}
}

func cut(s string) string { return s[:min(len(s), maxText)] }

// account is the account that a state names, whichever of the keys made it.
func (c *callback) account(state string) (string, bool) {
	account, ours := Account(c.cfg.Key, state)
	if ours || c.cfg.Keys == nil {
		return account, ours
	}
	for _, key := range c.cfg.Keys() {
		if account, ours = Account(key, state); ours {
			return account, true
		}
	}
	return "", false
}

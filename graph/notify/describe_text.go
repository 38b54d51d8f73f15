package notify

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WriteText writes the description for a terminal. What strangers wrote is shown without control
// characters.
func (d *Description) WriteText(w io.Writer) error {
	t := &textWriter{w: bufio.NewWriter(w)}
	t.line("notification of %d bytes: %s, %s", d.Bytes, plural(len(d.Items), "item"), plural(len(d.Tokens), "validation token"))
	t.field("oddities", strings.Join(d.Oddities, ", "))
	if d.Problem != nil {
		t.field("problem", d.Problem.text())
	}
	for i := range d.Items {
		t.item(&d.Items[i])
	}
	for i := range d.Tokens {
		t.token(&d.Tokens[i])
	}
	if d.TokenProblem != nil {
		t.line("")
		t.line("rich items would be refused because of the validation tokens: %s", d.TokenProblem.text())
	}
	if t.err != nil {
		return t.err
	}
	return t.w.Flush()
}

// textWriter keeps the first error, so that the code above reads like the output.
type textWriter struct {
	w   *bufio.Writer
	err error
}

func (t *textWriter) line(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format+"\n", args...)
	}
}

// field writes one named value, if there is one.
func (t *textWriter) field(name, value string) {
	if value != "" {
		t.line("  %-16s %s", name, printable(value))
	}
}

func (t *textWriter) item(it *ItemDescription) {
	t.line("")
	t.line("item %d: %s", it.Index, it.headline())
	t.field("subscription", it.SubscriptionID)
	t.field("ends", expiry(it.Expiration, it.Expired, it.ExpirationText))
	t.field("tenant", withCheck(first(it.TenantID, it.OrganizationID), it.Tenant))
	t.field("clientState", it.clientStateText())
	t.field("user", it.UserID)
	t.field("change type", it.ChangeType)
	t.field("lifecycle event", it.LifecycleEvent)
	t.field("resource", it.resourceText())
	t.field("type", it.ODataType)
	t.field("oddities", strings.Join(it.Oddities, ", "))
	if it.Kind == Rich {
		t.field("certificate", it.certificateText())
		t.field("data key", string(it.DataKey))
		t.field("data signature", string(it.Signature))
		t.field("decryption", string(it.Decryption))
		t.field("content", string(it.Content))
		t.field("sequence number", it.Sequence)
	}
	if it.Problem != nil {
		t.field("refused", it.Problem.text())
	}
}

func (it *ItemDescription) headline() string {
	switch {
	case it.Pair != nil:
		return "rich, a presence: " + printable(it.Pair.String())
	case it.Kind == Rich:
		return "rich, could not be read"
	case it.Kind == Basic:
		return "basic, a presence has changed (it does not say to what)"
	case it.Kind == Lifecycle:
		return "lifecycle, about the subscription itself"
	default:
		return "not about presence, ignored"
	}
}

func (it *ItemDescription) clientStateText() string {
	switch it.ClientState {
	case CheckOK:
		return "there, one of ours"
	case CheckFailed:
		return "there, not one of ours"
	case CheckAbsent:
		return "absent"
	default:
		return "there, unchecked"
	}
}

func (it *ItemDescription) resourceText() string {
	if it.ResourceBytes > shownResource {
		return fmt.Sprintf("%s (%d bytes)", it.Resource, it.ResourceBytes)
	}
	return it.Resource
}

func (it *ItemDescription) certificateText() string {
	s := "id " + strconv.Quote(it.CertificateID)
	if it.Thumbprint != "" {
		s += ", thumbprint " + it.Thumbprint
	}
	switch it.Key {
	case "id", "thumbprint":
		s += " (key found by " + it.Key + ")"
	case "tried":
		s += " (not the name of a given key: all were tried)"
	default:
		s += " (no key given)"
	}
	return s
}

func (t *textWriter) token(d *TokenDescription) {
	t.line("")
	t.line("validation token %d: version %s, signature %s", d.Index, printable(first(d.Version, "unknown")), d.Signature)
	t.field("algorithm", d.Algorithm)
	t.field("key id", d.KeyID)
	t.field("issuer", d.Issuer)
	t.field("tenant", withCheck(d.TenantID, d.Tenant))
	t.field("audience", withCheck(strings.Join(d.Audience, ", "), d.Aud))
	t.field("publisher", d.Publisher)
	t.field("valid from", expiry(d.NotBefore, false, ""))
	t.field("expires", expiry(d.Expires, d.Expired, ""))
	for _, name := range slices.Sorted(maps.Keys(d.Claims)) {
		t.field("claim "+name, fmt.Sprint(d.Claims[name]))
	}
	if d.Problem != nil {
		t.field("refused", d.Problem.text())
	}
}

func (p *Problem) text() string {
	s := p.Reason.String()
	if p.Field != "" {
		s += " at " + p.Field
	}
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	if p.Remedy != "" {
		s += " (" + p.Remedy + ")"
	}
	return printable(s)
}

func expiry(at time.Time, past bool, written string) string {
	switch {
	case at.IsZero():
		return written
	case past:
		return at.Format(time.RFC3339) + " (past)"
	default:
		return at.Format(time.RFC3339)
	}
}

func withCheck(value string, c Check) string {
	switch {
	case value == "" && c == CheckAbsent:
		return string(CheckAbsent)
	case value == "":
		return ""
	default:
		return value + " (" + string(c) + ")"
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// printable replaces what a terminal might obey.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '\ufffd'
	}, s)
}

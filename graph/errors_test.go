package graph

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTransportErrors(t *testing.T) {
	e := transportError("op", &url.Error{Op: "Get", URL: "https://graph.test/secret", Err: errors.New("reset")}, true)
	require.NotContains(t, e.Error(), "secret")
	require.True(t, e.Unanswered)
	e = transportError("op", fmt.Errorf("x: %w", &tls.CertificateVerificationError{Err: errors.New("bad")}), false)
	require.Equal(t, Refused, e.Kind)
	require.Equal(t, Transient, KindOf(errors.New("anything")))
	require.Equal(t, "kind_99", Kind(99).String())
	require.Nil(t, asError("op", nil))
	require.Equal(t, Transient, asError("op", errors.New("x")).Kind)
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "1.5": 1500 * time.Millisecond, "0": 0, "-4": 0, "soon": 0, "NaN": 0,
		"Wed, 25 Nov 2026 08:00:30 GMT": 30 * time.Second, "Wed, 25 Nov 2026 07:00:30 GMT": 0,
		"99999999999999999999": 24 * time.Hour, "+Inf": 24 * time.Hour,
	} {
		require.Equal(t, want, retryAfter(http.Header{"Retry-After": {v}}, now), v)
	}
}

func TestCleanedTexts(t *testing.T) {
	require.Equal(t, "a [secret] b", clean("a s3cret! b", 50, "s3cret!"))
	require.Equal(t, "a [secret] b", clean("a s3cret%21 b", 50, "s3cret!"))
	require.Equal(t, "for [address] and [token]", clean("for Anna.B@contoso.com and "+jwtOf(map[string]any{"upn": "x"}), 50))
	require.Equal(t, "one line", clean("one\r\n\x00line", 50))
	require.Equal(t, "äää…", clean("äääää", 7))
	require.Equal(t, "a b", clean("a b", 50, ""))
	require.NotContains(t, clean("\xff\xfe", 10), "\xff")
}

func TestErrorTexts(t *testing.T) {
	for want, e := range map[string]*Error{
		"graph: set presence: throttled: 429 TooManyRequests: slow down (request r1)": {Kind: Throttled, Op: "set presence", Status: 429, Code: "TooManyRequests", Message: "slow down", RequestID: "r1"},
		"graph: get presence: consent missing: 403 Forbidden":                         {Kind: ConsentMissing, Op: "get presence", Status: 403, Code: "Forbidden"},
		"graph: list users: transient: EOF":                                           {Op: "list users", Err: io.EOF},
		"graph: x: refused: what is wrong":                                            {Kind: Refused, Op: "x", Message: "what is wrong", Err: io.EOF},
	} {
		require.Equal(t, want, e.Error())
	}
}

func TestErrorsCanBeAsked(t *testing.T) {
	inner := &Error{Kind: Gone, Op: "renew", Err: context.Canceled}
	err := fmt.Errorf("monitor: %w", inner)
	require.Equal(t, Gone, KindOf(err))
	require.True(t, IsKind(err, Gone))
	require.False(t, IsKind(err, Conflict))
	require.False(t, IsKind(nil, Transient), "no error is of no kind")
	require.ErrorIs(t, err, context.Canceled)
	for kind, retry := range map[Kind]bool{Transient: true, Throttled: true, Unauthorised: false, ConsentMissing: false, Gone: false, Conflict: false, Refused: false} {
		require.Equal(t, retry, (&Error{Kind: kind}).Retry(), kind.String())
		require.NotContains(t, kind.String(), " ", "a metric label")
	}
}

func TestBodiesOfErrors(t *testing.T) {
	for body, want := range map[string][4]string{
		`{"error":{"code":"A","message":"B","innerError":{"code":"C","request-id":"D"}}}`: {"A", "C", "B", "D"},
		`{"error":{"code":"A","message":5,"innerError":"x"}}`:                             {"A", "", "", ""},
		`{"error":"a string"}`: {}, `[]`: {}, `<html>secret page</html>`: {}, ``: {},
	} {
		code, inner, message, id := parseGraphError([]byte(body))
		require.Equal(t, want, [4]string{code, inner, message, id}, body)
	}
	e := answerError("op", 502, http.Header{}, []byte("<html>internal page</html>"))
	require.Empty(t, e.Message, "a proxy's page is not repeated")
}

// The 409 of a second subscription, as it has been seen, straight and wrapped.
func TestConflictsAreKnownByStatusAndText(t *testing.T) {
	for _, c := range []struct {
		status  int
		message string
		want    Kind
	}{
		{409, "Subscription Id <a> already exists for the requested combination", Conflict},
		{409, "A subscripton already exists. It must be deleted before a another can be made", Conflict},
		{409, "", Conflict},
		{400, "Operation: Create; Exception: [Status Code: Conflict; Reason: A subscripton already exists.", Conflict},
		{403, "conflict; Reason: A subscription already exists", Conflict},
		{500, "Reason: A SUBSCRIPTON ALREADY EXISTS", Conflict},
		{400, "something else already exists", Refused},
	} {
		kind, safe := kindOfAnswer(c.status, "", c.message)
		require.Equal(t, c.want, kind, c.message)
		require.True(t, safe)
	}
}

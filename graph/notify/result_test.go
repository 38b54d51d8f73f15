package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRetry(t *testing.T) {
	postponed := &Error{Reason: ReasonKeysUnavailable, RetryAfter: 10 * time.Second}
	refused := &Error{Reason: ReasonSignature}
	for name, c := range map[string]struct {
		res   Result
		wait  time.Duration
		retry bool
	}{
		"nothing":           {Result{}, 0, false},
		"refused":           {Result{Items: []Item{{Err: refused}}}, 0, false},
		"body refused":      {Result{Err: &Error{Reason: ReasonMalformedBody}}, 0, false},
		"one postponed":     {Result{Items: []Item{{}, {Err: refused}, {Err: postponed}}}, 10 * time.Second, true},
		"cancelled":         {Result{Err: &Error{Reason: ReasonCancelled}}, 0, true},
		"the longer counts": {Result{Err: &Error{Reason: ReasonCancelled, RetryAfter: time.Minute}, Items: []Item{{Err: postponed}}}, time.Minute, true},
		"wrapped":           {Result{Err: fmt.Errorf("x: %w", postponed)}, 10 * time.Second, true},
	} {
		wait, retry := c.res.Retry()
		assert.Equal(t, c.wait, wait, name)
		assert.Equal(t, c.retry, retry, name)
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	err := error(&Error{Reason: ReasonTenant, Field: "tenantId", Err: cause})
	assert.Equal(t, "notification: tenant at tenantId: cause (tenant_id must be the directory id of the tenant whose subscription this is)", err.Error())
	require.ErrorIs(t, err, cause)
	assert.Equal(t, ReasonTenant, ReasonOf(fmt.Errorf("wrapped: %w", err)))
	assert.Equal(t, ReasonNone, ReasonOf(cause))
	assert.Equal(t, ReasonNone, ReasonOf(nil))
	var none *Error
	assert.Equal(t, ReasonNone, ReasonOf(none), "a nil *Error in an error is no reason")
	for _, r := range Reasons() {
		assert.Equal(t, r == ReasonKeysUnavailable || r == ReasonCancelled, r.Transient(), r)
	}
}

func TestOneTransientTokenAmongRefusedOnes(t *testing.T) {
	// Whatever the order: a body that is refused for good is not kept.
	w := newWorld(t)
	w.issuer.answer(500)
	bad := jwt256(testKeys()["sign"], "k1", with(claimsV2(w.clock()), map[string]any{"aud": "x"}))
	for _, tokens := range [][]string{{bad, w.token()}, {w.token(), bad}} {
		r := w.decode(bodyOf(t, tokens, richItem(alice, w.seal(alice, "Busy", "Busy"))))
		assert.Equal(t, ReasonTokenAudience, ReasonOf(r.Items[0].Err))
		_, retry := r.Retry()
		assert.False(t, retry)
	}
}

func TestCoverIsByPassingTokensOnly(t *testing.T) {
	assert.False(t, covered(nil, tenant))
	assert.False(t, covered([]TokenResult{{TenantID: appID}}, tenant))
	assert.False(t, covered([]TokenResult{{TenantID: tenant, Err: errors.New("x")}}, tenant))
	assert.True(t, covered([]TokenResult{{TenantID: appID}, {TenantID: strings.ToUpper(tenant)}}, tenant))
}

func TestTokensOfAllArraysCount(t *testing.T) {
	w := newWorld(t)
	item, err := json.Marshal(richItem(alice, w.seal(alice, "Busy", "Busy")))
	require.NoError(t, err)
	body := func(tokens ...string) []byte {
		return []byte(`{"validationTokens":["` + strings.Join(tokens, `"],"validationTokens":["`) + `"],"value":[` + string(item) + `]}`)
	}
	assert.NoError(t, w.decode(body(w.token(), w.token())).Items[0].Err)
	bad := jwt256(testKeys()["sign2"], "k1", claimsV2(w.clock()))
	for _, b := range [][]byte{body(w.token(), bad), body(bad, w.token())} {
		assert.Equal(t, ReasonTokenSignature, ReasonOf(w.decode(b).Items[0].Err), "a second array hides no bad token")
	}
}

// TestStrangersCostNoKeys: bodies without a clientState of ours must not make us verify or fetch anything.
func TestStrangersCostNoKeys(t *testing.T) {
	w := newWorld(t)
	r := w.decode(bodyOf(t, []string{w.token()}, with(richItem(alice, w.seal(alice, "Busy", "Busy")), map[string]any{"clientState": "guess"})))
	assert.Empty(t, r.Tokens)
	for _, claims := range []map[string]any{{"tid": appID}, {"aud": "x"}, {"azp": appID}, {"iss": "https://evil.example"}, {"exp": 1}} {
		w.decode(bodyOf(t, []string{jwt256(testKeys()["sign2"], "strange", with(claimsV2(w.clock()), claims))}, richItem(alice, w.seal(alice, "Busy", "Busy"))))
	}
	assert.Zero(t, w.issuer.fetches.Load())
}

func TestDecodeLargeBody(t *testing.T) {
	w := newWorld(t)
	s := w.seal(alice, "Busy", "InACall")
	item := with(richItem(alice, s), map[string]any{"resource": echoedFilter(650)})
	body := bodyOf(t, []string{w.token()}, repeat(item, 60)...)
	require.Greater(t, len(body), 1<<20)
	n := 0
	r := w.decoder.Decode(context.Background(), body, func() { n++ })
	require.Len(t, r.Items, 60)
	for i := range r.Items {
		require.NoError(t, r.Items[i].Err)
	}
	assert.Equal(t, 60, n)
	b := testing.AllocsPerRun(3, func() { _ = ScanHeads(body, func(Head) bool { return true }) })
	assert.Less(t, b, 60.0*8, "a filter costs no allocation")
}

func TestDecodeLeavesTheBodyAlone(t *testing.T) {
	w := newWorld(t)
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")), map[string]any{"resource": echoedFilter(650)})
	before := string(body)
	w.decode(body)
	w.decode([]byte(docBasic))
	require.Equal(t, before, string(body), "a body is decoded again after a retry")
	assert.NoError(t, w.decode(body).Items[0].Err)
}

func TestMetricsConflict(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "presence_bridge_notify_items_total", Help: "Something else."}))
	w := newWorld(t)
	_, err := New(Config{Account: "x", TenantID: tenant, Audiences: []string{appID}, Keys: w.keys, Certificates: w.ring, CheckClientState: func(string) bool { return true }, Metrics: reg})
	require.ErrorContains(t, err, "register metrics")
}

func TestLabelsAreClosedSets(t *testing.T) {
	assert.Equal(t, []string{"ignored", "rich", "basic", "lifecycle"}, []string{Ignored.String(), Rich.String(), Basic.String(), Lifecycle.String()})
	for o := range oddityCount {
		assert.Regexp(t, `^[a-z_]+$`, o.String())
	}
	assert.Equal(t, "unknown", Oddity(99).String())
	var s OdditySet
	s.add(OddityTime)
	s.add(OddityBOM)
	assert.Equal(t, "bom,time", s.String())
	assert.False(t, s.Has(OddityChangeType))
	b, err := json.Marshal(map[string]any{"kind": Rich, "reason": ReasonTokenMissing})
	require.NoError(t, err)
	assert.JSONEq(t, `{"kind":"rich","reason":"token_missing"}`, string(b))
}

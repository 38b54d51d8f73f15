package threecx

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"presencebridge/bridge/pbx"
)

// maxLife is how long a token lasts at most (facts: 3CX authentication).
const maxLife = time.Hour

// contended is how many tokens must have ended early within a quarter of an hour to say that somebody else ends them.
const (
	contended       = 4
	contendedWithin = 15 * time.Minute
)

var (
	errNoSecret = errors.New("the API client's key cannot be read")
	errToken    = errors.New("the token cannot be read")
)

// tokens holds the one token that a client id has at a time.
type tokens struct {
	c   *Client
	sem chan struct{} // who holds it fetches

	mu         sync.Mutex
	value      string
	renewAt    time.Time
	version    string // of the PBX, "" while unknown
	enterprise bool   // the token's role says that the licence includes the APIs; true when it says nothing
	refused    error  // of the last fetch, if that was refused
	askAgain   time.Time
	lost       []time.Time // tokens that ended before their time
}

func (t *tokens) init(c *Client) {
	t.c, t.sem, t.enterprise = c, make(chan struct{}, 1), true
}

// get returns a token that should be valid.
func (t *tokens) get(ctx context.Context) (string, error) {
	return t.when(ctx, func() bool { return t.value != "" && time.Now().Before(t.renewAt) })
}

// renew returns another token than the one that was refused, which may be one that was fetched meanwhile.
func (t *tokens) renew(ctx context.Context, refused string) (string, error) {
	token, err := t.when(ctx, func() bool { return t.value != "" && t.value != refused })
	if err == nil {
		t.c.warn(t.contention())
	}
	return token, err
}

// when returns the present token if it is good, or fetches one. One fetch at a time: each ends the token before.
func (t *tokens) when(ctx context.Context, good func() bool) (string, error) {
	select {
	case t.sem <- struct{}{}:
		defer func() { <-t.sem }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	t.mu.Lock()
	value, ok, refused := t.value, good(), t.refused
	early := t.value != "" && time.Now().Before(t.renewAt)
	wait := time.Now().Before(t.askAgain)
	t.mu.Unlock()
	switch {
	case ok:
		return value, nil
	case refused != nil && wait:
		return "", refused // who asks again and again gets locked out
	}
	// A fetch ends the token before, and with it the WebSocket whose end may be the end of ctx: it is not given up halfway.
	value, life, enterprise, err := t.fetch(context.WithoutCancel(ctx))
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.value, t.refused = "", nil
		if pbx.KindOf(err) == pbx.Unauthorised {
			t.refused, t.askAgain = err, time.Now().Add(20*t.c.cfg.BackoffMin)
		}
		return "", err
	}
	if early {
		t.lost = append(t.lost, time.Now())
	}
	t.value, t.refused, t.enterprise = value, nil, enterprise
	t.renewAt = time.Now().Add(life * 4 / 5)
	return value, nil
}

// licensed tells whether the token's role says that the licence includes the APIs.
func (t *tokens) licensed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enterprise
}

// learnt is the PBX's version, by which expires_in is understood from the next token on.
func (t *tokens) learnt(version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.version = version
}

// contention is the warning that somebody else ends our tokens, or that nobody does.
func (t *tokens) contention() pbx.Warning {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = slices.DeleteFunc(t.lost, func(at time.Time) bool { return time.Since(at) > contendedWithin })
	w := pbx.Warning{Code: "token_contended"}
	if len(t.lost) >= contended {
		w.Text = "The PBX keeps ending the API client's token before its time, as it does when another program uses the same client id."
		w.Remedy = "Make an API client that only this bridge uses (Integrations > API), and put its id and key into client_id and client_secret_file."
	}
	return w
}

// fetch asks for a token (facts: 3CX authentication).
func (t *tokens) fetch(ctx context.Context) (token string, life time.Duration, enterprise bool, err error) {
	const op = "get token"
	secret, err := t.c.cfg.Secret()
	if secret = strings.TrimSpace(secret); err == nil && secret == "" {
		err = errors.New("the file is empty")
	}
	if err != nil {
		return "", 0, false, &pbx.Error{
			Kind: pbx.Unauthorised, Op: op, Err: fmt.Errorf("%w: %w", errNoSecret, err),
			Remedy: "let the bridge read client_secret_file, and put the API client's key and nothing else into it",
		}
	}
	form := url.Values{"client_id": {t.c.cfg.ClientID}, "client_secret": {secret}, "grant_type": {"client_credentials"}}
	body, err := t.c.exchange(ctx, request{
		op: op, area: areaToken, method: http.MethodPost, path: "/connect/token", body: []byte(form.Encode()),
		contentType: "application/x-www-form-urlencoded", maxBody: maxToken,
	}, "")
	if err != nil {
		return "", 0, false, err
	}
	var answer struct {
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.AccessToken == "" || strings.ContainsFunc(answer.AccessToken, unprintable) {
		return "", 0, false, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: errToken}
	}
	t.mu.Lock()
	version := t.version
	t.mu.Unlock()
	return answer.AccessToken, lifetime(string(answer.ExpiresIn), version), hasEnterprise(answer.AccessToken), nil
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' }

// lifetime understands expires_in: minutes before version 20.0.9, seconds since. Without a version the number decides:
// tokens last an hour, so what is above 60 counts seconds. Nothing is believed that is more than an hour.
func lifetime(expiresIn, version string) time.Duration {
	n, err := strconv.ParseFloat(strings.Trim(expiresIn, `" `), 64)
	if err != nil || n <= 0 || n > 1e6 {
		return maxLife
	}
	unit := time.Second
	if older, known := before(version, 20, 0, 9); known && older || !known && n <= 60 {
		unit = time.Minute
	}
	// A token of less than a minute would be fetched anew all the time; one 401 costs less.
	return min(max(time.Duration(n*float64(unit)), time.Minute), maxLife)
}

// before compares a version like 20.0.9.100, and tells whether it could be read.
func before(version string, want ...int) (older, known bool) {
	parts := strings.Split(strings.TrimSpace(version), ".")
	for i, w := range want {
		if i >= len(parts) {
			return true, i > 0
		}
		n, err := strconv.Atoi(parts[i])
		switch {
		case err != nil:
			return false, false
		case n != w:
			return n < w, true
		}
	}
	return false, true
}

// hasEnterprise looks for the licence in the token's role claim (facts: 3CX authentication). A token without such a
// claim says nothing. The signature is the PBX's business: nothing but an explanation follows from it.
func hasEnterprise(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return true
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return true
	}
	var claims struct {
		Role any `json:"role"`
	}
	if json.Unmarshal(text, &claims) != nil {
		return true
	}
	switch role := claims.Role.(type) {
	case string:
		return strings.Contains(role, "Enterprise")
	case []any:
		return slices.ContainsFunc(role, func(r any) bool { s, ok := r.(string); return ok && strings.Contains(s, "Enterprise") })
	}
	return true
}

// Package signin is the end of a sign-in by redirect, on the public listener: GET /authorize/callback. The
// browser of whoever signed in brings a code and the state that was sent along. The state names the account and
// is signed with the key that the receiver holds anyway, so that a process without any secret of Graph's can tell
// ours from a stranger's, hands both to the owner of the account, and shows what came of it.
//
// The page is plain HTML without script. Nothing of what came with the request stands on it, and what the owner
// says is escaped.
package signin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Path is where the redirect leads: public_url with this is the redirect URI to register.
const Path = "/authorize/callback"

// A state is `<account>.<nonce>.<HMAC>`; the latter two in base64url without padding.
const (
	nonceBytes = 16
	maxAccount = 32
	maxState   = maxAccount + 1 + 22 + 1 + 43
	minKey     = 16
)

// stateDomain keeps these HMACs apart from the client states, which the same key makes.
const stateDomain = "presence-bridge sign-in state v1\x00"

// NewState makes the state of one sign-in for an account, whose name has no dot.
func NewState(key []byte, account string) (string, error) {
	if len(key) < minKey {
		return "", fmt.Errorf("signin: the key has %d bytes, want at least %d", len(key), minKey)
	}
	if account == "" || len(account) > maxAccount || strings.ContainsAny(account, ".\x00") {
		return "", errors.New("signin: an account's name is 1 to 32 characters without a dot")
	}
	var raw [nonceBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("signin: nonce of a state: %w", err)
	}
	nonce := base64.RawURLEncoding.EncodeToString(raw[:])
	return account + "." + nonce + "." + mac(key, account, nonce), nil
}

// Account is the account that a state names, if the state was made with this key.
func Account(key []byte, state string) (string, bool) {
	if len(key) < minKey || len(state) > maxState {
		return "", false
	}
	account, rest, _ := strings.Cut(state, ".")
	nonce, sum, found := strings.Cut(rest, ".")
	if !found || account == "" {
		return "", false
	}
	return account, hmac.Equal([]byte(sum), []byte(mac(key, account, nonce)))
}

// mac compares as text, so that each state has one spelling.
func mac(key []byte, account, nonce string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(stateDomain + account + "\x00" + nonce))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

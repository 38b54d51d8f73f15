package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"
	"sync"
)

// KeySize is the length of the key that clientState is derived with, in bytes.
const KeySize = 32

// A clientState is `<nonce>.<HMAC>`, both in base64url without padding: 22 + 1 + 43 characters. Graph
// takes at most 128 (learn:api/resources/subscription).
const (
	nonceBytes     = 16
	nonceLen       = 22
	macLen         = 43
	clientStateLen = nonceLen + 1 + macLen
)

// clientStateDomain keeps these HMACs apart from whatever else a key might ever be used for.
const clientStateDomain = "presence-bridge client state v1\x00"

// NewClientState makes the clientState for a new subscription of an account. Every call makes another
// one, and a receiver that has the key recognises each of them without a look-up: the subscription's
// own id is not known yet when the subscription is made.
func NewClientState(key []byte, account string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	var raw [nonceBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("webhook: nonce of a client state: %w", err)
	}
	nonce := base64.RawURLEncoding.EncodeToString(raw[:])
	return nonce + "." + string(newVerifier(key, account).mac(nonce)), nil
}

// CheckClientState tells, in constant time, whether state was made with key for account.
func CheckClientState(key []byte, account, state string) bool {
	return checkKey(key) == nil && newVerifier(key, account).check(state)
}

func checkKey(key []byte) error {
	if len(key) != KeySize {
		return fmt.Errorf("webhook: the key has %d bytes, want %d: see webhook_key_file", len(key), KeySize)
	}
	return nil
}

// A verifier checks the client states of one account. It is safe for concurrent use.
type verifier struct {
	account string
	key     []byte
	macs    sync.Pool // of hash.Hash, keyed: keying costs as much as hashing
}

func newVerifier(key []byte, account string) *verifier {
	return &verifier{account: account, key: bytes.Clone(key)}
}

// check compares the whole text, not the decoded bytes, so that each state has one spelling.
func (v *verifier) check(state string) bool {
	if len(state) != clientStateLen {
		return false
	}
	nonce, mac, ok := strings.Cut(state, ".")
	if !ok || len(nonce) != nonceLen {
		return false
	}
	return subtle.ConstantTimeCompare(v.mac(nonce), []byte(mac)) == 1
}

// mac returns the base64url HMAC over account and nonce. An account's name holds no zero byte
// (design: [a-z0-9-]{1,32}), so that the two cannot be divided in another way.
func (v *verifier) mac(nonce string) []byte {
	h, ok := v.macs.Get().(hash.Hash)
	if !ok {
		h = hmac.New(sha256.New, v.key)
	}
	defer v.macs.Put(h)
	h.Reset()
	h.Write([]byte(clientStateDomain))
	h.Write([]byte(v.account))
	h.Write([]byte{0})
	h.Write([]byte(nonce))
	var sum [sha256.Size]byte
	return base64.RawURLEncoding.AppendEncode(make([]byte, 0, macLen), h.Sum(sum[:0]))
}

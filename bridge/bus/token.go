package bus

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// maxToken is the longest token in bytes (design, section 4, "Tokens").
const maxToken = 64

const (
	hexPrefix  = "x-"
	hashPrefix = "h-"
)

// token turns any string into one that may stand between two dots of a subject or a key:
// `[a-z0-9-]`, at most 64 bytes. GUIDs are lower-cased, a string that is one already stays as it
// is, anything else becomes `x-` and its hex, and what would be longer than 64 bytes `h-` and its
// SHA-256. Two different strings have different tokens, save for the case of GUIDs.
func token(s string) string {
	if isGUID(s) {
		return strings.ToLower(s)
	}
	plain := isPlain(s) && !strings.HasPrefix(s, hexPrefix) && !strings.HasPrefix(s, hashPrefix)
	switch {
	case plain && len(s) <= maxToken:
		return s
	case !plain && len(hexPrefix)+hex.EncodedLen(len(s)) <= maxToken:
		return hexPrefix + hex.EncodeToString([]byte(s))
	default:
		sum := sha256.Sum256([]byte(s))
		return hashPrefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
	}
}

// untoken is the inverse of token. It reports false for a hash, which has none.
func untoken(t string) (string, bool) {
	switch {
	case strings.HasPrefix(t, hexPrefix):
		b, err := hex.DecodeString(t[len(hexPrefix):])
		return string(b), err == nil
	case strings.HasPrefix(t, hashPrefix):
		return "", false
	default:
		return t, true
	}
}

// isPlain tells whether s is not empty and consists of `[a-z0-9-]`.
func isPlain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != ""
}

// isGUID tells whether s is a GUID in its usual form of 36 characters.
func isGUID(s string) bool {
	return len(s) == 36 && uuid.Validate(s) == nil
}

// maxAccount is the longest account name in bytes.
const maxAccount = 32

// checkAccount refuses what may not name an account.
func checkAccount(account string) error {
	if len(account) > maxAccount || !isPlain(account) ||
		strings.HasPrefix(account, hexPrefix) || strings.HasPrefix(account, hashPrefix) {
		return fmt.Errorf("%w: account %q: use 1 to %d of [a-z0-9-], not beginning with %q or %q",
			ErrInvalid, account, maxAccount, hexPrefix, hashPrefix)
	}
	return nil
}

// sideToken turns a side, `teams` or `pbx.<pbx>.<endpoint>`, into subject tokens. The endpoint is
// the PBX's own id and may hold dots of its own.
func sideToken(side string) (string, error) {
	if side == "teams" {
		return side, nil
	}
	parts := strings.SplitN(side, ".", 3)
	if len(parts) != 3 || parts[0] != "pbx" || parts[1] == "" || parts[2] == "" {
		return "", fmt.Errorf("%w: side %q: use teams or pbx.<pbx>.<endpoint>", ErrInvalid, side)
	}
	return "pbx." + token(parts[1]) + "." + token(parts[2]), nil
}

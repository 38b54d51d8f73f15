package sipsim

import (
	"crypto/md5" //nolint:gosec // RFC 3261 has digest authentication with it
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// admitted tells whether a request carries a valid answer to a challenge; if not it is challenged (RFC 3261 section
// 22, RFC 8760).
func (s *Sim) admitted(req *sip.Request, tx sip.ServerTransaction) bool {
	s.mu.Lock()
	stale := false
	for _, h := range req.GetHeaders("Authorization") {
		ok, old := s.answers(req.Method.String(), h.Value())
		if ok {
			s.mu.Unlock()
			return true
		}
		stale = stale || old
	}
	s.stats.Challenges++
	nonce := random()
	s.nonces[nonce] = time.Now().Add(s.cfg.NonceLife)
	algorithms := s.cfg.Algorithms
	s.mu.Unlock()
	res := sip.NewResponseFromRequest(req, sip.StatusUnauthorized, "Unauthorized", nil)
	for _, a := range algorithms {
		v := fmt.Sprintf(`Digest realm=%q, nonce=%q, algorithm=%s, qop="auth"`, s.cfg.Domain, nonce, a)
		if stale {
			v += ", stale=true"
		}
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", v))
	}
	respond(tx, res)
	return false
}

// answers checks one answer. stale says that it is right but for an old nonce. The mutex is held.
func (s *Sim) answers(method, value string) (ok, stale bool) {
	f := fields(strings.TrimPrefix(value, "Digest "))
	want := digest(f, s.cfg.Username, s.cfg.Password, s.cfg.Domain, method)
	if f["username"] != s.cfg.Username || subtle.ConstantTimeCompare([]byte(want), []byte(f["response"])) != 1 {
		return false, false
	}
	until, known := s.nonces[f["nonce"]]
	if !known || time.Now().After(until) || s.dice.Hit(s.faults.Stale) {
		delete(s.nonces, f["nonce"])
		return false, true
	}
	return true, false
}

// digest is what the response must be (RFC 7616 section 3.4.1).
func digest(f map[string]string, username, password, realm, method string) string {
	hash := func(parts ...string) string {
		text := []byte(strings.Join(parts, ":"))
		if strings.EqualFold(f["algorithm"], "SHA-256") {
			sum := sha256.Sum256(text)
			return hex.EncodeToString(sum[:])
		}
		sum := md5.Sum(text) //nolint:gosec // see above
		return hex.EncodeToString(sum[:])
	}
	return hash(hash(username, realm, password), f["nonce"], f["nc"], f["cnonce"], f["qop"], hash(method, f["uri"]))
}

// fields reads the parameters of a challenge's answer.
func fields(s string) map[string]string {
	out := map[string]string{}
	for s != "" {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			return out
		}
		key = strings.ToLower(strings.Trim(key, " ,\t"))
		if strings.HasPrefix(rest, `"`) {
			value, after, _ := strings.Cut(rest[1:], `"`)
			out[key], s = value, after
			continue
		}
		value, after, _ := strings.Cut(rest, ",")
		out[key], s = strings.TrimSpace(value), after
	}
	return out
}

func respond(tx sip.ServerTransaction, res *sip.Response) {
	_ = tx.Respond(res) // who does not hear it asks again
}

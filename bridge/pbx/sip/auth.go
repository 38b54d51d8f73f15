package sip

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

var (
	errPassword  = errors.New("the password cannot be read")
	errChallenge = errors.New("the challenge cannot be answered: digest with MD5 or SHA-256 is wanted")
)

// authenticator answers challenges (RFC 3261 section 22, RFC 8760), and answers the next request's before it is asked
// again: with thousands of subscriptions each challenge that is saved counts.
type authenticator struct {
	username string
	password func() (string, error)

	mu     sync.Mutex
	secret string
	read   bool
	proxy  *answerable // 407
	server *answerable // 401
}

// answerable is a challenge and how often it was answered.
type answerable struct {
	challenge digest.Challenge
	count     int
}

// authorize adds to a request what the last challenges ask for.
func (a *authenticator) authorize(req *sip.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, h := range []struct {
		name string
		of   *answerable
	}{{"Authorization", a.server}, {"Proxy-Authorization", a.proxy}} {
		req.RemoveHeader(h.name)
		if h.of == nil {
			continue
		}
		if err := a.load(); err != nil {
			return err
		}
		h.of.count++
		cred, err := digest.Digest(&h.of.challenge, digest.Options{
			Method: req.Method.String(), URI: req.Recipient.String(), Username: a.username, Password: a.secret, Count: h.of.count,
			GetBody: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(req.Body())), nil },
		})
		if err != nil {
			return fmt.Errorf("%w: %w", errChallenge, err)
		}
		req.AppendHeader(sip.NewHeader(h.name, cred.String()))
	}
	return nil
}

func (a *authenticator) load() error {
	if a.read {
		return nil
	}
	secret, err := a.password()
	if err != nil {
		return fmt.Errorf("%w: %w", errPassword, err)
	}
	a.secret, a.read = secret, true
	return nil
}

// challenged takes in a 401 or 407, and says whether the answer that the request carried was merely stale.
func (a *authenticator) challenged(req *sip.Request, res *sip.Response) (stale bool, err error) {
	name, field := "WWW-Authenticate", "Authorization"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		name, field = "Proxy-Authenticate", "Proxy-Authorization"
	}
	chal, err := strongest(res, name)
	if err != nil {
		return false, err
	}
	used := ""
	if h := req.GetHeader(field); h != nil {
		if cred, err := digest.ParseCredentials(h.Value()); err == nil {
			used = cred.Nonce
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	place := &a.server
	if res.StatusCode == sip.StatusProxyAuthRequired {
		place = &a.proxy
	}
	// Another request may have met a newer challenge meanwhile: that one is kept, with its count.
	if *place == nil || (*place).challenge.Nonce == used || used == "" {
		*place = &answerable{challenge: *chal}
	}
	return chal.Stale, nil
}

// reread reads the password again, and says whether it is another one now.
func (a *authenticator) reread() (changed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.secret
	a.read = false
	if err := a.load(); err != nil {
		return false, err
	}
	return a.secret != before, nil
}

// strongest picks the challenge to answer: SHA-256 before MD5 (RFC 8760 section 2.4).
func strongest(res *sip.Response, name string) (*digest.Challenge, error) {
	var best *digest.Challenge
	for _, h := range res.GetHeaders(name) {
		chal, err := digest.ParseChallenge(h.Value())
		if err != nil {
			continue
		}
		for i, q := range chal.QOP {
			chal.QOP[i] = strings.ToLower(strings.TrimSpace(q))
		}
		if !digest.CanDigest(chal) {
			continue
		}
		if best == nil || rankOf(chal) > rankOf(best) {
			best = chal
		}
	}
	if best == nil {
		return nil, errChallenge
	}
	return best, nil
}

func rankOf(c *digest.Challenge) int {
	switch strings.ToUpper(c.Algorithm) {
	case "SHA-512", "SHA-512-256":
		return 3
	case "SHA-256":
		return 2
	}
	return 1
}

package graph

import (
	"crypto/sha256"
	"fmt"
	"time"
)

// Own is a credential of the application that only some of its signed-in users' tokens are fetched with: organisations may
// demand a secret of its own for each. The zero value is none.
type Own struct {
	Secret string
	// Certificate is a key with its certificate, as PEM or PKCS#12. It is preferred where both are given.
	Certificate         []byte
	CertificatePassword string
}

// String tells nothing of it.
func (Own) String() string { return "own credential" }

// GoString does not either.
func (o Own) GoString() string { return o.String() }

// As is the same application, proving itself with the given credential where users sign in and their tokens are renewed; where
// that is none, as always. It is asked each time, so that a new one is used at once. Everything else is shared:
// connections, budgets, and the token of the application itself.
func (c *Client) As(own func() (Own, error)) *Client {
	as := *c
	as.identity.own = own
	return &as
}

// ownProof reads the credential that [Client.As] was given; false for none.
func (i identity) ownProof() (proof, bool, error) {
	if i.own == nil {
		return proof{}, false, nil
	}
	own, err := i.own()
	switch {
	case err != nil:
		return proof{}, false, fmt.Errorf("the monitor's own credential: %w", err)
	case len(own.Certificate) > 0:
		chain, key, err := parseCertificate(own.Certificate, own.CertificatePassword)
		if err != nil {
			return proof{}, false, fmt.Errorf("the monitor's own certificate: %w", err)
		}
		return proof{fingerprint: sha256.Sum256(append([]byte("certificate "), own.Certificate...)), certificates: chain, key: key}, true, nil
	case own.Secret != "":
		return proof{fingerprint: sha256.Sum256([]byte("secret " + own.Secret)), secret: own.Secret}, true, nil
	}
	return proof{}, false, nil
}

// SavedDeviceCode is a sign-in under way in a form that can be kept, to go on after a restart. Code is worth a token: seal it.
type SavedDeviceCode struct {
	UserCode        string        `json:"user_code"`
	VerificationURI string        `json:"verification_uri"`
	Message         string        `json:"message"`
	ExpiresAt       time.Time     `json:"expires_at"`
	Code            string        `json:"code"`
	Interval        time.Duration `json:"interval"`
}

// String tells nothing of it.
func (SavedDeviceCode) String() string { return "saved device code" }

// GoString does not either.
func (s SavedDeviceCode) GoString() string { return s.String() }

// Save is what [Client.ResumeDeviceCode] goes on from.
func (dc *DeviceCode) Save() SavedDeviceCode {
	return SavedDeviceCode{
		UserCode: dc.UserCode, VerificationURI: dc.VerificationURI, Message: dc.Message, ExpiresAt: dc.ExpiresAt,
		Code: dc.code, Interval: dc.interval,
	}
}

// ResumeDeviceCode goes on with a sign-in that was begun before a restart. The person may have finished it meanwhile. It does
// not touch the network.
func (c *Client) ResumeDeviceCode(s SavedDeviceCode) *DeviceCode {
	dc := &DeviceCode{
		UserCode: s.UserCode, VerificationURI: s.VerificationURI, Message: s.Message, ExpiresAt: s.ExpiresAt,
		client: c, code: s.Code, interval: s.Interval,
	}
	if dc.interval <= 0 {
		dc.interval = defaultPollInterval
	}
	return dc
}

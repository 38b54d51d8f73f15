package graph

import (
	"context"
	"crypto/sha1" //nolint:gosec // Entra names certificates by their SHA-1 thumbprint
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	abs "github.com/microsoft/kiota-abstractions-go"
)

// CredentialKind is what an application proves itself with.
type CredentialKind string

// The kinds of credentials.
const (
	CredentialSecret      CredentialKind = "secret"
	CredentialCertificate CredentialKind = "certificate"
)

// Credential is a secret or certificate of the application, without anything secret.
type Credential struct {
	Kind CredentialKind
	// KeyID and Name are Entra's; empty for a certificate that only the configuration knows.
	KeyID string
	Name  string
	// Expires is when Entra no longer accepts it.
	Expires time.Time
	// InUse: it is, or may be, the one that the configuration names. Entra tells the first three characters
	// of a secret, which two can share.
	InUse bool
}

// Credentials reads when the application's secrets and certificates end, which takes the permission
// Application.Read.All: an [Error] of kind ConsentMissing without it. The end of a configured certificate is
// known without Graph, and is returned beside any error.
func (c *Client) Credentials(ctx context.Context) ([]Credential, error) {
	const op = "read application"
	p, failure := c.readIdentity(op)
	if failure != nil {
		return nil, failure
	}
	var own []Credential
	if len(p.certificates) > 0 {
		own = append(own, Credential{Kind: CredentialCertificate, Name: "certificate_file", Expires: p.certificates[0].NotAfter.UTC(), InUse: true})
	}
	info := abs.NewRequestInformation()
	info.Method = abs.GET
	address, err := url.Parse(c.graph + "/v1.0/applications(appId='" + url.PathEscape(c.cfg.ClientID) + "')?$select=id,appId,passwordCredentials,keyCredentials")
	if err == nil {
		info.SetUri(*address)
	}
	info.Headers.Add("Accept", "application/json")
	body, err := c.send(ctx, call{op: op, class: classDirectory, lane: laneOnly, tokens: c.app, repeatable: true}, info, err)
	if err != nil {
		return own, err
	}
	var doc struct {
		Passwords []struct {
			KeyID string     `json:"keyId"`
			Name  string     `json:"displayName"`
			Hint  string     `json:"hint"`
			End   *time.Time `json:"endDateTime"`
		} `json:"passwordCredentials"`
		Keys []struct {
			KeyID      string     `json:"keyId"`
			Name       string     `json:"displayName"`
			Identifier string     `json:"customKeyIdentifier"`
			End        *time.Time `json:"endDateTime"`
		} `json:"keyCredentials"`
	}
	if err := tolerant(json.Unmarshal(body, &doc)); err != nil {
		return own, answerUnreadable(op)
	}
	var out []Credential
	for _, s := range doc.Passwords {
		if s.End != nil {
			inUse := p.secret != "" && s.Hint != "" && strings.HasPrefix(p.secret, s.Hint)
			out = append(out, Credential{CredentialSecret, s.KeyID, clean(s.Name, 100), s.End.UTC(), inUse})
		}
	}
	for _, k := range doc.Keys {
		if k.End == nil {
			continue
		}
		inUse := len(p.certificates) > 0 && isThumbprint(p.certificates[0], k.Identifier)
		if inUse {
			own = nil // Entra knows it by name
		}
		out = append(out, Credential{CredentialCertificate, k.KeyID, clean(k.Name, 100), k.End.UTC(), inUse})
	}
	return append(out, own...), nil
}

// isThumbprint compares a certificate with Entra's customKeyIdentifier, which is its SHA-1 thumbprint in hex or in
// base64 (learn:api/resources/keycredential).
func isThumbprint(cert *x509.Certificate, identifier string) bool {
	sum := sha1.Sum(cert.Raw) //nolint:gosec // no security rests on it
	return identifier != "" && (strings.EqualFold(identifier, hex.EncodeToString(sum[:])) || identifier == base64.StdEncoding.EncodeToString(sum[:]))
}

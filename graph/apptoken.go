package graph

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

const opAppToken = "get app token"

// fetchApp asks azidentity for the app-only token. The credential lives for one token: the tokens are
// cached in [tokenSource], and a secret that was rotated, or a token that Graph no longer takes, needs a
// credential without a memory anyway.
func (c *Client) fetchApp(ctx context.Context, p proof) (token, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	wire := &loginWire{client: c, secrets: p.secrets()}
	credential, err := c.credential(p, wire)
	if err != nil {
		return token{}, &Error{Kind: Unauthorised, Op: opAppToken, Code: "credential_unusable", Message: clean(err.Error(), 200, p.secrets()...), safe: true}
	}
	issued := time.Now()
	t, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.cloud.Graph + "/.default"}})
	if err != nil {
		return token{}, wire.failure(err)
	}
	return token{value: t.Token, issued: issued, expires: t.ExpiresOn}, nil
}

// credential makes azidentity's credential. Its own retries are off: there is one place that retries. With
// an overridden login endpoint its discovery is off, as it asks Microsoft's own hosts.
func (c *Client) credential(p proof, wire policy.Transporter) (azcore.TokenCredential, error) {
	options := policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: c.login + "/"},
		Transport: wire,
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{Disabled: true},
	}
	undiscovered := c.cfg.Endpoints.Login != ""
	if p.key == nil {
		return azidentity.NewClientSecretCredential(c.cfg.TenantID, c.cfg.ClientID, p.secret,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: undiscovered})
	}
	return azidentity.NewClientCertificateCredential(c.cfg.TenantID, c.cfg.ClientID, p.certificates, p.key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: undiscovered})
}

// loginWire carries azidentity's requests and keeps the last failure: azidentity's errors hold the
// endpoint's whole answer as text, and lose it at times.
type loginWire struct {
	client  *Client
	secrets []string // kept out of errors
	last    *Error
}

// Do sends one request of azidentity's.
func (w *loginWire) Do(r *http.Request) (*http.Response, error) {
	status, header, body, err := w.client.roundTrip(r)
	w.last = nil
	if err != nil {
		w.last = transportError(opAppToken, err, false)
		return nil, err
	}
	if status/100 != 2 {
		w.last = loginError(opAppToken, status, header, body, w.secrets...)
	}
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// failure is what azidentity's error means.
func (w *loginWire) failure(err error) *Error {
	if w.last != nil {
		return w.last
	}
	// An answer that azidentity could not use: wrong content, or an issuer that does not fit.
	return &Error{Kind: Transient, Op: opAppToken, Code: "login_answer", Message: clean(err.Error(), 300, w.secrets...), safe: true}
}

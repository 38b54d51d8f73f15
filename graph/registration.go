package graph

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	abs "github.com/microsoft/kiota-abstractions-go"
)

// Permissions are what an app-only token says about itself.
type Permissions struct {
	// Roles are the application permissions that the token carries, in the order of the token.
	Roles []string
	// Readable: the token is a JWT. Entra does not promise that tokens for Graph are (entra: access-tokens);
	// where one is not, nothing can be said about the roles.
	Readable bool
	// Expires is when the token ends.
	Expires time.Time
}

// AppPermissions fetches an app-only token, afresh, and reads which application permissions it carries. The
// errors are those of [Client.Verify].
func (c *Client) AppPermissions(ctx context.Context) (Permissions, error) {
	if err := c.Verify(ctx); err != nil {
		return Permissions{}, err
	}
	t := c.app.cached("")
	claims, readable := readRoles(t.value)
	return Permissions{Roles: claims, Readable: readable, Expires: t.expires}, nil
}

// readRoles reads a token's application permissions; false for what is no JWT.
func readRoles(token string) ([]string, bool) {
	var doc struct {
		Roles []string `json:"roles"`
	}
	payload, ok := jwtPayload(token)
	if !ok || tolerant(json.Unmarshal(payload, &doc)) != nil {
		return nil, false
	}
	return doc.Roles, true
}

// Registration is an app registration, as far as verifying looks at it (learn:resources/application); see
// [Client.Credentials] for when its secrets and certificates end.
type Registration struct {
	ID          string `json:"id"`
	AppID       string `json:"appId"`
	DisplayName string `json:"displayName"`
	// RedirectURIs are those of the platform "Web"; nil where Graph does not tell.
	RedirectURIs []string `json:"-"`
	// PublicClient tells whether "Allow public client flows" is on; nil where Graph does not tell.
	PublicClient *bool `json:"isFallbackPublicClient"`
	// Declared are the permissions of Graph that the registration asks for, whether or not anybody consented.
	Declared []DeclaredPermission `json:"-"`
}

// DeclaredPermission is a permission of Graph that an app registration asks for.
type DeclaredPermission struct {
	ID          string // of the app role or the scope
	Application bool   // an application permission; otherwise delegated
}

// graphAppID is Microsoft Graph's own application id, the same in every tenant and cloud.
const graphAppID = "00000003-0000-0000-c000-000000000000"

// Registration reads the client's own app registration, which needs Application.Read.All (application). Without it the
// error is [ConsentMissing]; a registration in another tenant than this one is [Gone].
func (c *Client) Registration(ctx context.Context) (Registration, error) {
	const op = "get registration"
	address := c.graph + "/v1.0/applications(appId='" + c.cfg.ClientID + "')?$select=" + url.QueryEscape(
		"id,appId,displayName,web,isFallbackPublicClient,requiredResourceAccess")
	u, err := url.Parse(address)
	if err != nil {
		return Registration{}, refused(op, "cannot build the request")
	}
	info := abs.NewRequestInformation()
	info.Method = abs.GET
	info.SetUri(*u)
	info.Headers.Add("Accept", "application/json")
	k := call{op: op, class: classDirectory, lane: laneOnly, tokens: c.app, repeatable: true}
	body, err := c.send(ctx, k, info, nil)
	if err != nil {
		return Registration{}, err
	}
	return decodeRegistration(op, body)
}

func decodeRegistration(op string, body []byte) (Registration, error) {
	var doc struct {
		Registration
		Web *struct {
			RedirectURIs []string `json:"redirectUris"`
		} `json:"web"`
		Required []struct {
			ResourceAppID string `json:"resourceAppId"`
			Access        []struct {
				ID   string `json:"id"`
				Type string `json:"type"`
			} `json:"resourceAccess"`
		} `json:"requiredResourceAccess"`
	}
	if err := tolerant(json.Unmarshal(body, &doc)); err != nil {
		return Registration{}, answerUnreadable(op)
	}
	a := doc.Registration
	if doc.Web != nil {
		a.RedirectURIs = append([]string{}, doc.Web.RedirectURIs...)
	}
	for _, r := range doc.Required {
		if r.ResourceAppID != graphAppID {
			continue
		}
		for _, access := range r.Access {
			a.Declared = append(a.Declared, DeclaredPermission{ID: access.ID, Application: access.Type == "Role"})
		}
	}
	return a, nil
}

// Certificate is the certificate that the application proves itself with, read from its file; nil if it uses a secret.
func (c *Client) Certificate() (*x509.Certificate, error) {
	p, err := c.identity.read()
	if err != nil {
		return nil, fmt.Errorf("graph: %w", err)
	}
	if len(p.certificates) == 0 {
		return nil, nil
	}
	return p.certificates[0], nil
}

// Addresses are where this client sends: the base URLs of the login endpoint and of Graph.
func (c *Client) Addresses() (login, graph string) { return c.login, c.graph }

// Probe asks for an address of the login endpoint or of Graph without a token, and returns the status and the header of
// whatever answers: any answer means that the address is reachable. The path begins with a slash.
func (c *Client) Probe(ctx context.Context, base, path string) (status int, header http.Header, err error) {
	const op = "probe"
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
	if err != nil {
		return 0, nil, refused(op, "cannot build the request")
	}
	r.Header.Set("User-Agent", "presence-bridge")
	status, header, _, err = c.roundTrip(r)
	if err != nil {
		return 0, nil, transportError(op, err, true)
	}
	return status, header, nil
}

package graph

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const signedIn = `{"token_type":"Bearer","expires_in":3600,"refresh_token":"the-refresh-token","scope":"https://graph.microsoft.com/Presence.Read.All openid profile","access_token":"%s","id_token":"%s"}`

// deviceFlow answers the device code endpoint and each poll with the next of the answers.
func deviceFlow(tn *tenant, polls ...func(http.ResponseWriter)) *[]time.Time {
	at := &[]time.Time{}
	next := inTurn(polls...)
	tn.login = func(w http.ResponseWriter, form url.Values) bool {
		switch form.Get("grant_type") {
		case "urn:ietf:params:oauth:grant-type:device_code":
			*at = append(*at, time.Now())
			if form.Get("device_code") != "the-device-code" || form.Get("client_secret") != testSecret {
				reply(w, 400, `{"error":"bad_verification_code"}`)
				return true
			}
			next(w, nil)
			return true
		case "":
			reply(w, 200, `{"device_code":"the-device-code","user_code":"ABCD-EFGH","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"To sign in, use a web browser."}`)
			return true
		default:
			return false
		}
	}
	return at
}

func refusal(word, description string) func(http.ResponseWriter) {
	return status(400, fmt.Sprintf(`{"error":"%s","error_description":"%s"}`, word, description))
}

func pending() func(http.ResponseWriter) {
	return refusal("authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
}

func signedInAs(id, access map[string]any) func(http.ResponseWriter) {
	return status(200, fmt.Sprintf(signedIn, jwtOf(access), jwtOf(id)))
}

func TestDeviceCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		start := time.Now()
		polls := deviceFlow(tn, pending(), refusal("slow_down", "AADSTS70017: slow"), pending(), status(503, ""), pending(),
			signedInAs(map[string]any{"preferred_username": "presence1@contoso.com", "oid": "FA8BF3DC-0000-0000-0000-000000000001", "tid": testTenant},
				map[string]any{"upn": "presence1@contoso.com", "wids": []string{"b79fbf4d-3ef9-4689-8143-76b194e85509"}}))
		dc, err := tn.client(tn.onVirtual).StartDeviceCode(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ABCD-EFGH", dc.UserCode)
		require.Equal(t, "https://microsoft.com/devicelogin", dc.VerificationURI)
		require.Equal(t, "To sign in, use a web browser.", dc.Message)
		require.Equal(t, start.Add(15*time.Minute), dc.ExpiresAt)
		require.Contains(t, tn.forms[0].Get("scope"), "offline_access")

		a, err := dc.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, Authorization{
			UPN: "presence1@contoso.com", ObjectID: "fa8bf3dc-0000-0000-0000-000000000001", TenantID: testTenant,
			RefreshToken: "the-refresh-token", Scopes: []string{"Presence.Read.All", "openid", "profile"},
			DirectoryRoles: []string{"b79fbf4d-3ef9-4689-8143-76b194e85509"},
		}, a)
		require.False(t, a.GlobalAdministrator())
		gaps := []time.Duration{}
		for i, p := range *polls {
			before := start
			if i > 0 {
				before = (*polls)[i-1]
			}
			gaps = append(gaps, p.Sub(before))
		}
		require.Equal(t, []time.Duration{5 * time.Second, 5 * time.Second, 10 * time.Second, 10 * time.Second, 20 * time.Second, 20 * time.Second}, gaps,
			"the interval, five seconds more after slow_down, twice as much after a failure (RFC 8628 section 3.5)")
	})
}

func TestSignInsThatFail(t *testing.T) {
	for name, f := range map[string]struct {
		answer func(http.ResponseWriter)
		state  AuthorizationState
		code   string
		text   string
	}{
		"declined":      {refusal("authorization_declined", "AADSTS70018: declined"), AuthorizationDeclined, "AADSTS70018", "declined"},
		"denied":        {refusal("access_denied", ""), AuthorizationDeclined, "access_denied", "declined"},
		"bad code":      {refusal("bad_verification_code", "AADSTS70018: bad"), AuthorizationBadCode, "AADSTS70018", "does not know"},
		"expired":       {refusal("expired_token", "AADSTS70020: expired"), AuthorizationExpired, "AADSTS70020", "expired"},
		"code expired":  {refusal("code_expired", "AADSTS70020: expired"), AuthorizationExpired, "AADSTS70020", "expired"},
		"only number":   {refusal("invalid_grant", "AADSTS70020: expired"), AuthorizationExpired, "AADSTS70020", "expired"},
		"never":         {pending(), AuthorizationExpired, "AADSTS70016", "expired"},
		"always down":   {status(503, ""), AuthorizationExpired, "", "expired"},
		"blocked":       {refusal("invalid_grant", "AADSTS53003: blocked by Conditional Access"), AuthorizationFailed, "AADSTS53003", "Conditional Access"},
		"secret":        {refusal("invalid_client", "AADSTS7000215: no"), AuthorizationFailed, "AADSTS7000215", "client_secret_file"},
		"no credential": {refusal("invalid_client", "AADSTS7000218: no"), AuthorizationFailed, "AADSTS7000218", "credential"},
		"no app":        {refusal("unauthorized_client", "AADSTS700016: no"), AuthorizationFailed, "AADSTS700016", "client_id"},
		"no tenant":     {refusal("invalid_request", "AADSTS90002: no"), AuthorizationFailed, "AADSTS90002", "tenant_id"},
		"consent":       {refusal("invalid_grant", "AADSTS65001: no"), AuthorizationFailed, "AADSTS65001", "Presence.Read.All"},
		"unassigned":    {refusal("invalid_grant", "AADSTS50105: no"), AuthorizationFailed, "AADSTS50105", "assigned"},
		"disabled":      {refusal("invalid_grant", "AADSTS50057: no"), AuthorizationFailed, "AADSTS50057", "disabled"},
		"factor":        {refusal("interaction_required", "AADSTS50076: no"), AuthorizationFailed, "AADSTS50076", "factor"},
		"another":       {refusal("invalid_grant", "AADSTS99999: some sentence"), AuthorizationFailed, "AADSTS99999", "some sentence"},
		"no refresh":    {status(200, `{"access_token":"x"}`), AuthorizationFailed, "login_answer", "offline_access"},
		"no name":       {status(200, `{"access_token":"x","refresh_token":"y"}`), AuthorizationFailed, "login_answer", "name"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tn := virtual(t)
				deviceFlow(tn, pending(), f.answer)
				dc, err := tn.client(tn.onVirtual).StartDeviceCode(t.Context())
				require.NoError(t, err)
				start := time.Now()
				_, err = dc.Wait(t.Context())
				var e *AuthorizationError
				require.ErrorAs(t, err, &e)
				require.Equal(t, f.state, e.State)
				require.Equal(t, f.code, e.Code)
				require.Contains(t, e.Error(), f.text)
				require.LessOrEqual(t, time.Since(start), 15*time.Minute)
			})
		})
	}
}

func TestWaitThatIsLeftAndTakenUpAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		deviceFlow(tn, pending(), pending(), signedInAs(map[string]any{"preferred_username": "a@b"}, nil))
		dc, err := tn.client(tn.onVirtual).StartDeviceCode(t.Context())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		_, err = dc.Wait(ctx)
		var e *AuthorizationError
		require.ErrorAs(t, err, &e)
		require.Equal(t, AuthorizationPending, e.State)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		a, err := dc.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, "a@b", a.UPN)
	})
}

func TestDeviceCodeWithoutACredentialToRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		deviceFlow(tn, pending())
		dc, err := tn.client(tn.onVirtual, func(c *Config) {
			c.ClientSecret = func() (string, error) { return "", errors.New("permission denied") }
		}).StartDeviceCode(t.Context())
		require.NoError(t, err)
		_, err = dc.Wait(t.Context())
		require.ErrorContains(t, err, "client_secret_file")
	})
}

func TestStartOfDeviceCodeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := virtual(t)
		tn.login = func(w http.ResponseWriter, _ url.Values) bool {
			reply(w, 400, `{"error":"unauthorized_client","error_description":"AADSTS700016: Application not found"}`)
			return true
		}
		c := tn.client(tn.onVirtual)
		_, err := c.StartDeviceCode(t.Context())
		require.Equal(t, "AADSTS700016", requireKind(t, err, Unauthorised).Code)
		tn.login = func(w http.ResponseWriter, _ url.Values) bool { reply(w, 200, `{}`); return true }
		_, err = c.StartDeviceCode(t.Context())
		requireKind(t, err, Transient)

		n := 0
		tn.login = func(w http.ResponseWriter, _ url.Values) bool {
			if n++; n == 1 {
				reply(w, 502, "")
				return true
			}
			reply(w, 200, `{"device_code":"d","user_code":"U","verification_url":"https://x"}`)
			return true
		}
		dc, err := c.StartDeviceCode(t.Context())
		require.NoError(t, err, "a start is repeated")
		require.Equal(t, "Open https://x and enter the code U.", dc.Message)
		require.Equal(t, defaultPollInterval, dc.interval)
	})
}

func TestGlobalAdministrator(t *testing.T) {
	a := answer{RefreshToken: "r", AccessToken: jwtOf(map[string]any{"unique_name": "admin@contoso.com", "oid": "1", "wids": []string{"62E90394-69F5-4237-9190-012177145E10"}}),
		IDToken: jwtOf(map[string]any{"wids": []string{"another"}})}
	got, err := a.authorization()
	require.NoError(t, err)
	require.True(t, got.GlobalAdministrator())
	require.Equal(t, "admin@contoso.com", got.UPN)
	require.Len(t, got.DirectoryRoles, 2)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", got, got, got, got), "RefreshToken")
	got.RefreshToken = "the-refresh-token"
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", got, got, got, got), "the-refresh-token")
}

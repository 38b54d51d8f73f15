package graph

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// The other side repeats everything it was sent in every error. None of it reaches an error, a log or a
// metric: no secret, no token, no e-mail address; and above debug no presence either.
func TestNothingSecretIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const refresh, clientState, mail = "0.the-refresh-token", "client-state-secret", "anna@contoso.com"
		access := jwtOf(map[string]any{"upn": mail, "secret": testSecret})
		for _, code := range []int{400, 401, 403, 404, 409, 429, 500, 503} {
			tn := virtual(t)
			tn.graph = func(w http.ResponseWriter, r *seen) {
				told := fmt.Sprintf("%s %s %s %s %v", r.Header.Get("Authorization"), r.URL, mail, r.body, r.Header)
				reply(w, code, graphError("Code "+mail, told), "Retry-After", "1", "request-id", "1 "+access)
			}
			var logs syncBuffer
			reg := prometheus.NewRegistry()
			c := tn.client(tn.onVirtual, func(cfg *Config) {
				cfg.Log = slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
				cfg.Metrics = reg
			})
			store := &memoryStore{token: refresh}
			d := c.Delegated(mail, store)
			good := func(w http.ResponseWriter, _ url.Values) bool {
				reply(w, 200, `{"token_type":"Bearer","expires_in":3600,"access_token":"`+access+`","refresh_token":"`+refresh+`2"}`)
				return true
			}
			echo := func(w http.ResponseWriter, form url.Values) bool {
				told := strings.ReplaceAll(fmt.Sprintf("%v %s %s", form, form.Encode(), mail), `"`, "'")
				reply(w, code, `{"error":"`+form.Get("client_secret")+`","error_description":"AADSTS70000: `+told+` Trace ID: 1","trace_id":"`+form.Get("refresh_token")+`"}`)
				return true
			}
			var told []string
			for _, login := range []func(http.ResponseWriter, url.Values) bool{good, echo} {
				tn.login = login
				for _, op := range operations() {
					if err := op.run(within(t, 3*time.Second), c, d); err != nil {
						told = append(told, err.Error(), fmt.Sprintf("%+v", err))
					}
				}
				c.app.mu.Lock()
				c.app.current = token{}
				c.app.mu.Unlock()
				d.tokens.mu.Lock()
				d.tokens.current = token{}
				d.tokens.mu.Unlock()
			}
			_, err := c.StartDeviceCode(within(t, 3*time.Second))
			require.Error(t, err)
			dc := &DeviceCode{client: c, code: "the-device-code", interval: time.Second, ExpiresAt: time.Now().Add(3 * time.Second)}
			_, err = dc.Wait(t.Context())
			require.Error(t, err)
			told = append(told, err.Error(), logs.String())
			families, err := reg.Gather()
			require.NoError(t, err)
			for _, f := range families {
				told = append(told, f.String())
			}
			require.Greater(t, len(told), 20)
			for _, text := range told {
				for _, secret := range []string{testSecret, url.QueryEscape(testSecret), refresh, clientState, access, mail, url.QueryEscape(mail), "the-device-code"} {
					require.NotContains(t, text, secret)
				}
			}
			for line := range strings.Lines(logs.String()) {
				if !strings.Contains(line, `"level":"DEBUG"`) {
					require.NotContains(t, line, "InACall")
				}
			}
		}
	})
}

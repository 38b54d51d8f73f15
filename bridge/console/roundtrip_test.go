package console

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
)

// newClient is the command line's client, talking to a real console over real HTTP.
func newClient(t *testing.T, k *kit) *client.Client {
	t.Helper()
	srv := httptest.NewServer(k.Handler())
	t.Cleanup(srv.Close)
	c, err := client.New(srv.URL+"/", testToken)
	require.NoError(t, err)
	return c
}

func TestClientReads(t *testing.T) {
	k := newKit(t, nil)
	for i := 25; i < 2*api.MaxLimit+7; i++ {
		m := testMember(i)
		m.ID = "z" + m.UPN // the backend's order
		k.backend.members["contoso"] = append(k.backend.members["contoso"], m)
	}
	sortMembers(k.backend.members["contoso"])
	c, ctx := newClient(t, k), t.Context()

	accounts, err := c.Accounts(ctx)
	require.NoError(t, err)
	require.Equal(t, "contoso", accounts[0].Name)

	var got []string
	for m, err := range c.Members(ctx, "contoso", "") {
		require.NoError(t, err)
		got = append(got, m.ID)
	}
	require.Len(t, got, 2*api.MaxLimit+7)
	for i, m := range k.backend.members["contoso"] {
		require.Equal(t, m.ID, got[i])
	}
	n := 0
	for range c.Members(ctx, "contoso", "user 0") {
		if n++; n == 3 {
			break
		}
	}
	require.Equal(t, 3, n)
	for _, err := range c.Members(ctx, "nobody", "") {
		require.True(t, client.IsNotFound(err))
	}

	counts, err := c.DirectoryCounts(ctx, "contoso")
	require.NoError(t, err)
	require.Empty(t, counts, "there are no problems")
	n = 0
	for f, err := range c.Directory(ctx, "contoso", "matched") {
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("u%02d", n), f.User)
		n++
	}
	require.Equal(t, 25, n)
	for _, err := range c.Directory(ctx, "contoso", "unheard-of") {
		require.ErrorContains(t, err, `kind "unheard-of" is none: use one of problem, ambiguous, endpoint, person, matched, excluded`)
	}

	m, err := c.Member(ctx, "contoso", "user04@contoso.com")
	require.NoError(t, err)
	require.Equal(t, "id-04", m.ID)
	for _, key := range []string{"a/b", "..", ".", "50%", "a b?#", "x;y"} {
		k.backend.members["fabrikam"] = []api.Member{{ID: "x", UPN: key, Coverage: "polled"}}
		m, err = c.Member(ctx, "fabrikam", key)
		require.NoError(t, err, key)
		require.Equal(t, key, m.UPN)
	}
	_, err = c.Member(ctx, "contoso", "nobody")
	require.True(t, client.IsNotFound(err))
	require.EqualError(t, err, `account contoso has no member "nobody"`)

	monitors, err := c.Monitors(ctx, "contoso")
	require.NoError(t, err)
	require.Equal(t, k.backend.monitors["contoso"], monitors)
}

func TestClientAuthorizes(t *testing.T) {
	k := newKit(t, nil)
	c := newClient(t, k)
	a, err := c.Authorize(t.Context(), "contoso", "presence1@contoso.com")
	require.NoError(t, err)
	require.Equal(t, "ABCD-EFGH", a.UserCode)
	go func() {
		for k.backend.waits.Load() == 0 {
			continue
		}
		k.backend.settle(a.ID, api.AuthorizationDone, "the monitor is authorised")
	}()
	a, err = c.AwaitAuthorization(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, a.State)

	a, err = c.AuthorizeBy(t.Context(), "contoso", "presence1@contoso.com", api.ByLink)
	require.NoError(t, err)
	require.Equal(t, api.ByLink, a.Method)
	require.NotEmpty(t, a.URL)

	ctx, cancel := context.WithCancel(t.Context())
	a, err = c.Authorize(ctx, "contoso", "presence1@contoso.com")
	require.NoError(t, err)
	cancel()
	_, err = c.AwaitAuthorization(ctx, a)
	require.ErrorIs(t, err, context.Canceled)
}

func TestClientChecksPBXs(t *testing.T) {
	k := newKit(t, nil)
	c := newClient(t, k)
	got, err := c.CheckPBXs(t.Context(), "contoso")
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, 7, *got[0].Users)
	require.Equal(t, "competitor", got[0].Warnings[0].Code)
	_, err = c.CheckPBXs(t.Context(), "nobody")
	require.True(t, client.IsNotFound(err))
	read[api.PBXChecks](t, k.call(t, http.MethodPost, "/api/v1/accounts/contoso/pbx/check", ""), http.StatusOK)
}

func TestClientProbes(t *testing.T) {
	k := newKit(t, nil)
	c := newClient(t, k)
	p, err := c.Probe(t.Context(), "contoso")
	require.NoError(t, err)
	require.Equal(t, api.ProbeReached, p.State)
	_, err = c.Probe(t.Context(), "nobody")
	require.True(t, client.IsNotFound(err))
	read[api.Probe](t, k.call(t, http.MethodPost, "/api/v1/accounts/contoso/probe", ""), http.StatusOK)
	accounts, err := c.Accounts(t.Context())
	require.NoError(t, err)
	require.Equal(t, "capacity", accounts[0].Coverage.Reasons[0].Why)
}

func TestClientRotatesKeys(t *testing.T) {
	k := newKit(t, nil)
	c, ctx := newClient(t, k), t.Context()
	done, err := c.Reseal(ctx)
	require.NoError(t, err)
	require.Equal(t, api.Resealed{Key: "0123456789abcdef", Values: 3, Resealed: 2}, done)
	rotated, err := c.RotateCertificate(ctx, "contoso")
	require.NoError(t, err)
	require.Equal(t, 2, rotated.Subscriptions)
	_, err = c.RotateCertificate(ctx, "nobody")
	require.True(t, client.IsNotFound(err))
	require.False(t, client.IsUnavailable(err))
	read[api.Resealed](t, k.call(t, http.MethodPost, "/api/v1/keys/reseal", ""), http.StatusOK)
	read[api.CertificateRotation](t, k.call(t, http.MethodPost, "/api/v1/accounts/contoso/certificate/rotate", ""), http.StatusOK)
}

func TestClientChangesMonitors(t *testing.T) {
	k := newKit(t, nil)
	c, ctx := newClient(t, k), t.Context()
	m, err := c.AddMonitor(ctx, "contoso", "presence2@contoso.com")
	require.NoError(t, err)
	require.True(t, m.Added)
	_, err = c.AddMonitor(ctx, "contoso", "presence2@contoso.com")
	require.ErrorContains(t, err, "already")
	_, err = c.AddMonitor(ctx, "contoso", "")
	require.ErrorContains(t, err, "upn: is missing")
	m, err = c.RetryMonitor(ctx, "contoso", "presence1@contoso.com")
	require.NoError(t, err)
	require.Equal(t, "authorized", m.State)
	a, err := c.RenewMonitor(ctx, "contoso", "presence1@contoso.com", api.ByRedirect)
	require.NoError(t, err)
	require.Equal(t, api.AuthorizationDone, a.State)
	m, err = c.RemoveMonitor(ctx, "contoso", "presence1@contoso.com")
	require.NoError(t, err)
	require.Equal(t, "retired", m.State)
	for _, do := range []func(context.Context, string, string) (api.Monitor, error){c.RemoveMonitor, c.RetryMonitor} {
		_, err = do(ctx, "contoso", "nobody@contoso.com")
		require.True(t, client.IsNotFound(err))
	}

	// What is answered is what openapi.yaml says.
	const at = "/api/v1/accounts/contoso/monitors"
	read[api.Monitor](t, k.call(t, http.MethodPost, at, `{"upn":"presence3@contoso.com"}`), http.StatusCreated)
	requireProblem(t, k.call(t, http.MethodPost, at, `{"upn":"presence3@contoso.com"}`), http.StatusConflict, "already")
	requireProblem(t, k.call(t, http.MethodPost, at, `{"name":"x"}`), http.StatusBadRequest, "name")
	read[api.Monitor](t, k.call(t, http.MethodPost, at+"/presence3@contoso.com/retry", ""), http.StatusOK)
	w := k.call(t, http.MethodPost, at+"/presence3@contoso.com/renew", `{"method":"copy_url"}`)
	read[api.Authorization](t, w, http.StatusAccepted)
	require.Equal(t, "/api/v1/accounts/contoso/authorizations/renewed", w.Header().Get("Location"))
	requireProblem(t, k.call(t, http.MethodPost, at+"/nobody/renew", ""), http.StatusNotFound, "nobody")
	read[api.Monitor](t, k.call(t, http.MethodDelete, at+"/presence3@contoso.com", ""), http.StatusOK)
}

func TestClientResyncs(t *testing.T) {
	k := newKit(t, nil)
	release := make(chan struct{})
	k.backend.resync = held(release)
	c, ctx := newClient(t, k), t.Context()
	job, err := c.Resync(ctx, "contoso", "user03@contoso.com")
	require.NoError(t, err)
	require.Equal(t, "id-03", job.Scope.Member)

	_, err = c.Resync(ctx, "", "")
	running, ok := client.RunningJob(err)
	require.True(t, ok)
	require.Equal(t, job.ID, running)
	require.ErrorContains(t, err, "wait for it")

	var seen []api.Job
	done, err := c.AwaitJob(ctx, job.ID, func(j api.Job) {
		seen = append(seen, j)
		if j.Total == 2 && j.Done == 0 {
			close(release)
		}
	})
	require.NoError(t, err)
	require.Equal(t, api.JobDone, done.State)
	require.Equal(t, done, seen[len(seen)-1])
	last, err := c.Job(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, done, last)

	k.backend.resync = nil
	for _, account := range []string{"contoso", ""} {
		job, err = c.Resync(ctx, account, "")
		require.NoError(t, err)
		_, err = c.AwaitJob(ctx, job.ID, nil)
		require.NoError(t, err)
	}
	_, err = c.Resync(ctx, "", "somebody")
	require.ErrorContains(t, err, "needs the account")
	_, err = c.AwaitJob(ctx, "x", nil)
	require.True(t, client.IsNotFound(err))
}

func TestClientWithAnotherToken(t *testing.T) {
	srv := httptest.NewServer(newKit(t, nil).Handler())
	defer srv.Close()
	c, err := client.New(srv.URL, "something-else")
	require.NoError(t, err)
	_, err = c.Accounts(t.Context())
	require.ErrorContains(t, err, "the bridge does not accept the token")
	require.NotContains(t, err.Error(), "something-else")
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusUnauthorized, e.Status)
}

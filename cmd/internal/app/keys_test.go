package app

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/keyring"
	"presencebridge/cmd/internal/config"
	"presencebridge/monitors"
)

// encodedKey is a key as it stands in a key file.
func encodedKey(fill string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32))) + "\n"
}

// replaceFile puts another file in a file's place, as an administrator's tools do.
func replaceFile(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file+".next", []byte(content), 0o600))
	require.NoError(t, os.Rename(file+".next", file))
}

// renewed uses the monitor's stored sign-in afresh.
func renewed(t *testing.T, a *App, s *site) {
	t.Helper()
	eventually(t, func() bool {
		auth, err := admin(t, a).RenewMonitor(t.Context(), s.name, s.monitor(), api.ByDeviceCode)
		return err == nil && auth.State == api.AuthorizationDone
	}, "the stored sign-in is good")
}

// TestRotatedKeysAcceptWhatWasMadeBefore: after a rotation of the master key Graph goes on repeating the clientState of a
// subscription that was made before; it is taken by the receiver and by the owner. The subscription is made anew with the new one.
func TestRotatedKeysAcceptWhatWasMadeBefore(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 4, 1)
	s.sweep = "{interval: 1h, polled_interval: 1h}" // only pushes tell
	dir := t.TempDir()
	a := launch{dir: dir, sites: []*site{s}}.start(t)
	authorize(t, a, s)
	awaitPhones(t, a, s)
	upn := s.person(t, s.phone(0))
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.status(s.phone(0)) == "In a call" }, "a push comes through")
	first := s.graph.Subscriptions()[0].ID
	old, ok := s.posts.last(first)
	require.True(t, ok)

	file := filepath.Join(dir, "data", "master.key")
	_, err := keyring.AddKey(file)
	require.NoError(t, err)
	done, err := admin(t, a).Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, api.Resealed{Key: a.keys.ID(), Values: 3, Resealed: 3}, done)
	_, err = keyring.RetireKeys(file)
	require.NoError(t, err)
	genuine := func() float64 {
		return metric(t, a.Registry(), "presence_bridge_webhook_items_total", "account", s.name)
	}
	before, forged := genuine(), metric(t, a.Registry(), "presence_bridge_webhook_items_refused_total")
	status, _ := send(t, http.MethodPost, notifyURL(a, s.name), "", string(old.body))
	require.Equal(t, http.StatusAccepted, status)
	require.Greater(t, genuine(), before, "Graph repeats it for hours")
	require.InDelta(t, forged, metric(t, a.Registry(), "presence_bridge_webhook_items_refused_total"), 0)

	eventually(t, func() bool {
		subs := s.graph.Subscriptions()
		return len(subs) == 1 && subs[0].ID != first
	}, "the subscription is made anew")
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { return s.status(s.phone(0)) == "Available" }, "a push under the new key")
	renewed(t, a, s)
}

// TestRotationWithRolesInProcessesOfTheirOwn rotates the master key, which the engine alone has, and then the key of the
// receiver, which both have.
func TestRotationWithRolesInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	s := newSite(t, "contoso", 4, 1)
	s.sweep = "{interval: 1h, polled_interval: 1h}"
	dir := t.TempDir()
	webhookKey, masterKey := writeFile(t, dir, "webhook.key", encodedKey("a")), writeFile(t, dir, "master.key", encodedKey("b"))
	token := writeFile(t, dir, "token", encodedKey("c"))
	hook := listen(t)
	startText(t, hook, config.RoleWebhook, fmt.Sprintf("data_dir: %s\nnats: {url: %q}\nwebhook_key_file: %s\naccounts: [{name: contoso}]\n",
		filepath.Join(dir, "receiver"), nats, webhookKey))
	engine := launch{dir: dir, sites: []*site{s}, hooks: hook.Addr().String(), roles: []config.Role{config.RoleEngine},
		head: fmt.Sprintf("data_dir: %s\nnats: {url: %q}\nmaster_key_file: %s\nwebhook_key_file: %s\n", filepath.Join(dir, "engine"), nats, masterKey, webhookKey)}
	owner := engine.start(t)
	console := startText(t, nil, config.RoleConsole, fmt.Sprintf("data_dir: %s\nlisten: {admin: \"127.0.0.1:0\"}\nnats: {url: %q}\nadmin: {token_file: %s}\naccounts: [{name: contoso}]\n",
		filepath.Join(dir, "console"), nats, token))
	authorize(t, console, s)
	awaitPhones(t, console, s)
	awaitValues(t, console, 3)
	first := s.graph.Subscriptions()[0].ID

	// The owner notices the new key by itself, and its restart finds everything; the subscription stays.
	_, err := keyring.AddKey(masterKey)
	require.NoError(t, err)
	done, err := admin(t, console).Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, done.Resealed)
	_, err = keyring.RetireKeys(masterKey)
	require.NoError(t, err)
	stopApp(t, owner)
	_, err = admin(t, console).Reseal(t.Context())
	require.ErrorContains(t, err, "no replica runs the account", "then no key may be retired")
	engine.start(t)
	renewed(t, console, s)
	require.Equal(t, first, s.graph.Subscriptions()[0].ID)

	// The receiver's key: a new one in front, in the file of both.
	replaceFile(t, webhookKey, encodedKey("d")+encodedKey("a"))
	eventually(t, func() bool {
		_, err := admin(t, console).Reseal(t.Context())
		subs := s.graph.Subscriptions()
		return err == nil && len(subs) == 1 && subs[0].ID != first
	}, "the subscription is made anew")
	upn := s.person(t, s.phone(0))
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.status(s.phone(0)) == "In a call" }, "a push under the new key")
}

// awaitValues waits until so many sealed values are stored: the tenant knows of a subscription before its bridge has
// written it down.
func awaitValues(t *testing.T, a *App, n int) {
	t.Helper()
	eventually(t, func() bool {
		done, err := admin(t, a).Reseal(t.Context())
		return err == nil && done.Values == n
	}, "everything sealed is stored")
}

// TestAccountsThatAreNotConfiguredAreResealedToo: they may be configured again.
func TestAccountsThatAreNotConfiguredAreResealedToo(t *testing.T) {
	t.Parallel()
	s, other := newSite(t, "contoso", 2, 1), newSite(t, "fabrikam", 2, 1)
	dir := t.TempDir()
	both := launch{dir: dir, sites: []*site{s, other}}
	a := both.start(t)
	authorize(t, a, s)
	authorize(t, a, other)
	awaitValues(t, a, 6)
	stopApp(t, a)

	a = launch{dir: dir, sites: []*site{s}}.start(t)
	file := filepath.Join(dir, "data", "master.key")
	_, err := keyring.AddKey(file)
	require.NoError(t, err)
	done, err := admin(t, a).Reseal(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, done.Values)
	require.Zero(t, done.Unreadable)
	_, err = keyring.RetireKeys(file)
	require.NoError(t, err)
	stored, err := a.bus.Bucket(bus.Monitors).Get(t.Context(), other.name, monitors.ID(other.monitor()))
	require.NoError(t, err)
	require.Contains(t, string(stored.Value), `"token"`)
	stopApp(t, a)
	a = both.start(t)
	renewed(t, a, s)
	renewed(t, a, other)
}

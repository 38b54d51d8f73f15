package app

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client"
	"presencebridge/cmd/internal/config"
)

// runNATS runs a NATS server of its own, as a customer would.
func runNATS(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, NoSigs: true, StoreDir: t.TempDir(), MaxPayload: 8 << 20,
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(time.Minute))
	return s.ClientURL()
}

// TestRolesInProcessesOfTheirOwn runs the receiver, the engine and the console each by itself, with nothing between
// them but NATS. The receiver has one key and no other file.
func TestRolesInProcessesOfTheirOwn(t *testing.T) {
	t.Parallel()
	nats := runNATS(t)
	s := newSite(t, "contoso", 4, 1)
	dir := t.TempDir()
	key := func(name, fill string) string {
		return writeFile(t, dir, name, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32)))+"\n")
	}
	webhookKey, masterKey, token := key("webhook.key", "a"), key("master.key", "b"), key("token", "c")

	hook := listen(t)
	receiver := startText(t, hook, config.RoleWebhook, fmt.Sprintf("data_dir: %s\nnats: {url: %q}\nwebhook_key_file: %s\naccounts: [{name: contoso}]\n",
		filepath.Join(dir, "receiver"), nats, webhookKey))
	head := fmt.Sprintf("nats: {url: %q}\nmaster_key_file: %s\nwebhook_key_file: %s\n", nats, masterKey, webhookKey)
	engine := launch{dir: dir, sites: []*site{s}, hooks: hook.Addr().String(), roles: []config.Role{config.RoleEngine}, head: "data_dir: " + filepath.Join(dir, "engine") + "\n" + head}
	owner := engine.start(t)
	console := startText(t, nil, config.RoleConsole, fmt.Sprintf("data_dir: %s\nlisten: {admin: \"127.0.0.1:0\"}\nnats: {url: %q}\nadmin: {token_file: %s}\naccounts: [{name: contoso}]\n",
		filepath.Join(dir, "console"), nats, token))

	require.Empty(t, receiver.AdminAddr())
	require.Empty(t, console.WebhookAddr())
	require.Empty(t, owner.AdminAddr())
	require.Nil(t, receiver.Engine(s.name))
	require.NotNil(t, owner.Engine(s.name))

	authorize(t, console, s)
	awaitPhones(t, console, s)
	phone := s.phone(0)
	upn := s.person(t, phone)
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return s.status(phone) == "In a call" }, "a call in Teams shows on the PBX")
	require.NoError(t, s.graph.EndCall(upn))
	eventually(t, func() bool { return s.status(phone) == "Available" }, "and ends")
	require.Positive(t, metric(t, receiver.Registry(), "presence_bridge_webhook_requests_total", "outcome", "stored"))
	require.Equal(t, "done", string(runResync(t, console, s.name, upn).State))

	for _, part := range []string{"receiver", "console"} {
		require.Empty(t, files(t, filepath.Join(dir, part)), "the %s keeps nothing", part)
	}

	stopApp(t, owner)
	_, err := admin(t, console).Member(t.Context(), s.name, upn)
	require.ErrorContains(t, err, "no replica runs the account contoso")
	status, _ := get(t, "http://"+console.AdminAddr()+"/healthz", "")
	require.Equal(t, http.StatusOK, status)
	accounts, err := admin(t, console).Accounts(t.Context())
	require.NoError(t, err)
	require.Equal(t, "contoso", accounts[0].Name, "it is listed all the same")
	_, err = admin(t, console).Resync(t.Context(), s.name, upn)
	require.Error(t, err)
	require.False(t, client.IsNotFound(err))
}

// startText starts one role from a configuration that holds what that role needs and no more.
func startText(t *testing.T, hook net.Listener, role config.Role, text string) *App {
	t.Helper()
	roles := []config.Role{role}
	cfg, err := config.Parse("test.yaml", []byte(text), config.Options{Files: true, Roles: roles})
	require.NoError(t, err)
	opts := Options{Config: cfg, Roles: roles, Version: "test"}
	if hook != nil {
		opts.WebhookListener = hook
	}
	a, err := Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { stopApp(t, a) })
	return a
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestKeyThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 1, 1)
	dir := t.TempDir()
	l := launch{dir: dir, sites: []*site{s}}
	stopApp(t, l.start(t))
	file := filepath.Join(dir, "data", "master.key")
	require.NoError(t, os.WriteFile(file, []byte("no key"), 0o600))
	_, err := l.try(t)
	require.ErrorContains(t, err, file)
	require.NotContains(t, err.Error(), "no key", "what stands in the file is not shown")
}

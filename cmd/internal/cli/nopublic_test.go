package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without an address for Graph everybody is polled, as the configuration allows; only monitors need one.
func TestWithoutPublicURLEverybodyIsPolled(t *testing.T) {
	file := whoIsWhoSite(t)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	write(t, file, strings.Replace(string(text), "public_url: http://127.0.0.1:1\n", "", 1))
	good(t, "config", "check", "--config", file)
	c := start(t, "serve", "--config", file)
	c.says(t, "presence-bridge is running")
	eventually(t, func() bool { return strings.Contains(run(t, "users", "list", "--config", file).out, "polled") }, "somebody is polled")
	require.Contains(t, bad(t, "monitors", "add", "presence1@contoso.example", "--config", file), "public_url is not set")
	require.Zero(t, c.terminate(t))
}

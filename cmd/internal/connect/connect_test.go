package connect

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/cmd/internal/config"
)

// What can be configured can be made, and nothing else.
func TestEveryTypeIsMade(t *testing.T) {
	require.ElementsMatch(t, config.PBXTypes(), slices.Collect(maps.Keys(makers())))
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("x"), 0o600))
	users := filepath.Join(t.TempDir(), "users.csv")
	require.NoError(t, os.WriteFile(users, []byte("extension\n1001\n"), 0o600))
	for _, kind := range config.PBXTypes() {
		url := map[string]string{"sip": "sip:127.0.0.1:1"}[kind]
		if url == "" {
			url = "http://127.0.0.1:1"
		}
		c, err := New(&config.PBX{
			Name: "main", Type: kind, URL: url, Username: "bridge", PasswordFile: secret, UsersFile: users, TokenFile: secret, ClientID: "bridge", ClientSecretFile: secret, Timeout: time.Second,
		}, Options{Account: "contoso"})
		require.NoError(t, err, kind)
		require.NotNil(t, c)
		c.Close()
	}
	_, err := New(&config.PBX{Name: "main", Type: "telegraph"}, Options{})
	require.ErrorContains(t, err, `type "telegraph" is unknown; known types are micollab, 3cx, sip`)
}

func TestClientFile(t *testing.T) {
	f := clientFile(filepath.Join(t.TempDir(), "new", "file"))
	name, err := f.Load()
	require.NoError(t, err)
	require.Empty(t, name)
	require.NoError(t, f.Save("bridge"))
	name, err = f.Load()
	require.NoError(t, err)
	require.Equal(t, "bridge", name)
}

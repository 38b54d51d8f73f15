package console

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokenIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	token, err := LoadOrCreateToken(dir)
	require.NoError(t, err)
	require.Len(t, token, 43)
	info, err := os.Stat(filepath.Join(dir, "admin-token"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	again, err := LoadOrCreateToken(dir)
	require.NoError(t, err)
	require.Equal(t, token, again)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
	other, err := LoadOrCreateToken(t.TempDir())
	require.NoError(t, err)
	require.NotEqual(t, token, other)
}

func TestTokenIsMadeOnceByMany(t *testing.T) {
	dir := t.TempDir()
	tokens := make([]string, 16)
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() { tokens[i], _ = LoadOrCreateToken(dir) })
	}
	wg.Wait()
	require.NotEmpty(t, tokens[0])
	for _, token := range tokens {
		require.Equal(t, tokens[0], token)
	}
}

func TestTokenFile(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		mode fs.FileMode
		want string
	}{
		"an administrator's own": {"correct-horse-battery\r\n", 0o600, ""},
		"read only":              {strings.Repeat("x", 40), 0o400, ""},
		"short":                  {"0123456789abcde", 0o600, "at least 16"},
		"empty":                  {"", 0o600, "at least 16"},
		"two lines":              {strings.Repeat("x", 20) + "\n" + strings.Repeat("y", 20), 0o600, "one line"},
		"spaces":                 {"correct horse battery staple", 0o600, "visible"},
		"not ASCII":              {strings.Repeat("ä", 20), 0o600, "visible"},
		"for the group":          {strings.Repeat("x", 40), 0o640, "chmod 600"},
		"for everybody":          {strings.Repeat("x", 40), 0o644, "mode 0644"},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, TokenFile)
		require.NoError(t, os.WriteFile(file, []byte(tt.text), 0o600))
		require.NoError(t, os.Chmod(file, tt.mode))
		token, err := LoadOrCreateToken(dir)
		if tt.want == "" {
			require.NoError(t, err, name)
			require.Equal(t, strings.TrimSpace(tt.text), token, name)
			continue
		}
		require.ErrorContains(t, err, tt.want, name)
		require.ErrorContains(t, err, file, name)
		if tt.text != "" {
			require.NotContains(t, err.Error(), tt.text, name)
		}
		kept, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, tt.text, string(kept), "it is never replaced")
	}
}

func TestTokenNeedsFolder(t *testing.T) {
	_, err := LoadOrCreateToken(filepath.Join(t.TempDir(), "absent"))
	require.ErrorContains(t, err, "make data_dir exist and writable")
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, TokenFile), 0o700))
	_, err = LoadOrCreateToken(dir)
	require.ErrorContains(t, err, "not a regular file")
	_, err = LoadToken(filepath.Join(dir, "absent"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

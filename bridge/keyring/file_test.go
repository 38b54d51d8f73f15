package keyring

import (
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func writeKey(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "master.key")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	require.NoError(t, os.Chmod(file, mode))
	return file
}

// requireFileError checks that the error names the file and the remedy.
func requireFileError(t *testing.T, err error, file, problem, remedy string) {
	t.Helper()
	var fe *FileError
	require.ErrorAs(t, err, &fe)
	require.ErrorContains(t, err, file)
	require.ErrorContains(t, err, problem)
	require.ErrorContains(t, err, remedy)
}

func TestCreate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master.key")
	_, err := OpenOrCreate(file, false)
	requireFileError(t, err, file, "cannot be read", "head -c 32 /dev/urandom | base64 > "+file)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, file)

	k, err := OpenOrCreate(file, true)
	require.NoError(t, err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Len(t, raw, KeySize)

	for _, create := range []bool{true, false} {
		again, err := OpenOrCreate(file, create)
		require.NoError(t, err)
		require.Equal(t, k.ID(), again.ID(), "an existing key is never replaced")
	}
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

func TestCreateByManyAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master.key")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			if k, err := OpenOrCreate(file, true); err == nil {
				ids[i] = k.ID()
			}
		})
	}
	wg.Wait()
	require.NotEmpty(t, ids[0])
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
}

func TestCreateNeedsFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "absent", "master.key")
	_, err := OpenOrCreate(file, true)
	requireFileError(t, err, file, "cannot be created", "make its folder exist and writable")
}

func TestCreateNeverReplaces(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "garbage": "!!!", "short": "QUJD"} {
		file := writeKey(t, text, 0o600)
		_, err := OpenOrCreate(file, true)
		require.Error(t, err, name)
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, text, string(got), name)
	}
}

func TestContents(t *testing.T) {
	key := []byte(strings.Repeat("\xfb\xef", 16)) // both alphabets differ in it
	std, url := base64.StdEncoding.EncodeToString(key), base64.URLEncoding.EncodeToString(key)
	for name, text := range map[string]string{
		"as written": std + "\n", "bare": std, "windows": std + "\r\n", "spaced": "  " + std + " \n\n",
		"unpadded": strings.TrimRight(std, "="), "url": url, "url unpadded": strings.TrimRight(url, "="),
	} {
		got, err := ReadKey(writeKey(t, text, 0o600))
		require.NoError(t, err, name)
		require.Equal(t, key, got, name)
	}
	const remedy = "restore it from a backup"
	for _, tt := range []struct{ name, text, problem string }{
		{"empty", "", "is empty"},
		{"blank", " \n", "is empty"},
		{"padding only", "====", "is empty"},
		{"raw bytes", string(key), "is not base64"},
		{"hex, which is base64 too", strings.Repeat("ab", 32), "holds 48 bytes, want 32"},
		{"short", base64.StdEncoding.EncodeToString(key[:31]), "holds 31 bytes"},
		{"two keys on a line", std + std, "is not base64"},
		{"rubbish below", std + "\nrub!bish", "is not base64"},
		{"webhook without key", std + "\nwebhook\n", "without key and time"},
		{"webhook without time", std + "\nwebhook " + std + " tomorrow\n", "without a time"},
		{"webhook alone", "webhook " + std + " 2026-01-02T15:04:05Z", "is empty"},
		{"huge", strings.Repeat("A", 1<<16), "is longer than"},
	} {
		file := writeKey(t, tt.text, 0o600)
		_, err := ReadKey(file)
		requireFileError(t, err, file, tt.problem, remedy)
		if len(tt.text) > 8 {
			require.NotContains(t, err.Error(), tt.text[:8], "the contents stay out of the error")
		}
	}
}

func TestPermissions(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(make([]byte, KeySize))
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
		_, err := ReadKey(writeKey(t, key, mode))
		require.NoError(t, err, "%04o", mode)
	}
	for _, mode := range []fs.FileMode{0o640, 0o644, 0o604, 0o620, 0o602, 0o610, 0o666, 0o777} {
		file := writeKey(t, key, mode)
		_, err := ReadKey(file)
		requireFileError(t, err, file, "so that others can get at the key", "chmod 600 "+file)
	}
}

// fakeInfo is a file of root's, as Kubernetes mounts it.
type fakeInfo struct {
	fs.FileInfo
	mode fs.FileMode
	uid  uint32
}

func (f fakeInfo) Mode() fs.FileMode { return f.mode }
func (f fakeInfo) Sys() any          { return &syscall.Stat_t{Uid: f.uid} }

func TestPermissionsOfMountedSecret(t *testing.T) {
	require.NoError(t, checkMode("f", fakeInfo{mode: 0o440, uid: 0}, 1000))
	require.Error(t, checkMode("f", fakeInfo{mode: 0o440, uid: 0}, 0), "root needs no group")
	require.Error(t, checkMode("f", fakeInfo{mode: 0o440, uid: 1000}, 1000), "the owner can do better")
	require.Error(t, checkMode("f", fakeInfo{mode: 0o444, uid: 0}, 1000))
	require.Error(t, checkMode("f", fakeInfo{mode: 0o460, uid: 0}, 1000))
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadKey(dir)
	requireFileError(t, err, dir, "is not a regular file", "make one with")

	fifo := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	_, err = ReadKey(fifo)
	requireFileError(t, err, fifo, "is not a regular file", "make one with")
}

func TestSymlinkIsFollowed(t *testing.T) {
	file := writeKey(t, base64.StdEncoding.EncodeToString(make([]byte, KeySize)), 0o600)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(file, link))
	_, err := ReadKey(link)
	require.NoError(t, err)
}

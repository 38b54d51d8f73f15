package keyring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sealed(t *testing.T, k *Keyring, text string) []byte {
	t.Helper()
	out, err := k.Seal([]byte(text), []byte("test"))
	require.NoError(t, err)
	return out
}

func requireOpens(t *testing.T, k *Keyring, text string, value []byte) {
	t.Helper()
	plain, err := k.Open(value, []byte("test"))
	require.NoError(t, err)
	require.Equal(t, text, string(plain))
}

func newFile(t *testing.T) (string, *Keyring) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "master.key")
	k, err := OpenOrCreate(file, true)
	require.NoError(t, err)
	return file, k
}

func TestRotation(t *testing.T) {
	file, running := newFile(t)
	first := running.ID()
	oldWebhook := running.Derive(PurposeWebhook)
	before := sealed(t, running, "before")
	require.True(t, running.Newest(before))

	r, err := AddKey(file)
	require.NoError(t, err)
	require.False(t, r.Begun)
	require.Equal(t, []string{first}, r.Older)
	during := sealed(t, running, "during")
	require.Equal(t, r.Newest, running.ID(), "a running keyring notices before it seals")
	require.True(t, running.Newest(during))
	require.False(t, running.Newest(before))
	requireOpens(t, running, "before", before)
	require.Equal(t, [][]byte{running.Derive(PurposeWebhook), oldWebhook}, running.WebhookKeys())

	again, err := AddKey(file)
	require.NoError(t, err)
	require.True(t, again.Begun, "a rotation that was cut off is gone on with")
	require.Equal(t, r.Newest, again.Newest)

	fresh, err := OpenOrCreate(file, false)
	require.NoError(t, err)
	requireOpens(t, fresh, "before", before)
	requireOpens(t, fresh, "during", during)

	r, err = RetireKeys(file)
	require.NoError(t, err)
	require.Empty(t, r.Older)
	after, err := OpenOrCreate(file, false)
	require.NoError(t, err)
	require.Equal(t, []string{r.Newest}, after.IDs())
	requireOpens(t, after, "during", during)
	_, err = after.Open(before, []byte("test"))
	require.ErrorIs(t, err, ErrOtherKey)
	require.Equal(t, [][]byte{after.Derive(PurposeWebhook), oldWebhook}, after.WebhookKeys(), "subscriptions repeat the old clientState")
	requireOpens(t, running, "before", before) // until the process ends
	sealed(t, running, "again")

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	past := strings.Fields(string(text))
	past[3] = time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	require.NoError(t, os.WriteFile(file, []byte(past[0]+"\n"+strings.Join(past[1:], " ")+"\n"), 0o600))
	late, err := OpenOrCreate(file, false)
	require.NoError(t, err)
	require.Len(t, late.WebhookKeys(), 1, "but not for ever")
	_, err = RetireKeys(file)
	require.NoError(t, err)
	text, err = os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(text), webhookWord)
}

// TestAnotherProcessRotates: what this one cannot open yet makes it look at the file.
func TestAnotherProcessRotates(t *testing.T) {
	file, here := newFile(t)
	there, err := OpenOrCreate(file, false)
	require.NoError(t, err)
	_, err = AddKey(file)
	require.NoError(t, err)
	requireOpens(t, here, "theirs", sealed(t, there, "theirs"))
	require.NoError(t, here.Reload())

	require.NoError(t, os.WriteFile(file, []byte("rubbish"), 0o600))
	mine := sealed(t, here, "mine")
	requireOpens(t, here, "mine", mine)
	require.ErrorContains(t, here.Reload(), "base64")
	require.NoError(t, os.Remove(file))
	requireOpens(t, here, "mine", mine)
}

// TestRotationStopsAnywhere stops at each operation on the disk. The file is the old or the new one, everything opens,
// and the next attempt finishes.
func TestRotationStopsAnywhere(t *testing.T) {
	crash := errors.New("crash")
	for n := 0; ; n++ {
		file, k := newFile(t)
		before := sealed(t, k, "before")
		steps, reached := 0, ""
		stop := func(name string) error {
			steps++
			if steps-1 == n {
				reached = name
				return crash
			}
			return nil
		}
		add := editor{file: file, step: stop}
		_, err := add.edit(func(c *content) (bool, error) {
			if len(c.keys) > 1 {
				return false, nil
			}
			c.keys = append([][]byte{[]byte(strings.Repeat("k", KeySize))}, c.keys...)
			return true, nil
		})
		if err == nil {
			retiring := editor{file: file, step: stop}
			_, err = retiring.edit(retire)
		}
		if reached == "" {
			require.NoError(t, err)
			require.Equal(t, 8, n, "steps were stopped at")
			return
		}
		require.ErrorIs(t, err, crash, reached)
		fresh, err := OpenOrCreate(file, false)
		require.NoError(t, err, reached)
		if n < 7 {
			requireOpens(t, fresh, "before", before)
		}
		_, err = AddKey(file)
		require.NoError(t, err, reached)
		fresh, err = OpenOrCreate(file, false)
		require.NoError(t, err)
		now := sealed(t, fresh, "now")
		_, err = RetireKeys(file)
		require.NoError(t, err)
		fresh, err = OpenOrCreate(file, false)
		require.NoError(t, err)
		require.Len(t, fresh.IDs(), 1)
		requireOpens(t, fresh, "now", now)
		left, err := os.ReadDir(filepath.Dir(file))
		require.NoError(t, err)
		require.Len(t, left, 1, "nothing is left over")
	}
}

func TestManyRotateAtOnce(t *testing.T) {
	file, k := newFile(t)
	first := k.ID()
	var wg sync.WaitGroup
	begun := make([]bool, 8)
	for i := range begun {
		wg.Go(func() {
			r, err := AddKey(file)
			begun[i] = err == nil && !r.Begun
		})
	}
	wg.Wait()
	n := 0
	for _, b := range begun {
		if b {
			n++
		}
	}
	require.Equal(t, 1, n, "one key is added")
	r, err := Standing(file)
	require.NoError(t, err)
	require.Equal(t, []string{first}, r.Older)
}

func TestRotationKeepsModeAndLink(t *testing.T) {
	file, _ := newFile(t)
	require.NoError(t, os.Chmod(file, 0o400))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(file, link))
	_, err := AddKey(link)
	require.NoError(t, err)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, fs.ModeSymlink, info.Mode().Type())
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o400), info.Mode())
	r, err := Standing(link)
	require.NoError(t, err)
	require.Len(t, r.Older, 1)
}

func TestRotationNamesTheRemedy(t *testing.T) {
	file, _ := newFile(t)
	e := editor{file: file}
	require.ErrorContains(t, e.failed("rename", errors.New("read-only")), "in front of the present one")
	_, err := AddKey(filepath.Join(t.TempDir(), "absent"))
	require.ErrorContains(t, err, "make one with")
	require.NoError(t, os.WriteFile(file, []byte("rubbish"), 0o600))
	_, err = RetireKeys(file)
	require.ErrorContains(t, err, "base64")
	_, err = Standing(file)
	require.ErrorContains(t, err, "base64")
}

func TestKeysOfAFile(t *testing.T) {
	one, two := strings.Repeat("1", KeySize), strings.Repeat("2", KeySize)
	file := writeKey(t, "# present\n"+encode([]byte(one))+"\n", 0o600)
	k, err := OpenKeys(file)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte(one)}, k.All())
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", k, k, k, k), one)
	next := file + ".next"
	require.NoError(t, os.WriteFile(next, []byte(encode([]byte(two))+"\n"+encode([]byte(one))), 0o600))
	require.NoError(t, os.Rename(next, file))
	k.looked.Store(0)
	require.Equal(t, [][]byte{[]byte(two), []byte(one)}, k.All())
	_, err = OpenKeys(filepath.Join(t.TempDir(), "absent"))
	require.Error(t, err)
}

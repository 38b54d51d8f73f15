package monitors

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/keyring"
)

// certificateOf is the certificate that monitor i's subscription names.
func (w *world) certificateOf(i int) string { return w.graph.sub(owner(i)).CertificateID }

func TestRotateCertificate(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		told := []map[string]DecryptionKey{}
		w.cfg.OnCertificates = func(keys map[string]DecryptionKey) { told = append(told, keys) }
		w.start()
		w.m.SetMembers(people(0, 1500))
		for i := range 3 {
			w.authorize(i)
		}
		w.pass(time.Second)
		old := w.certificateOf(0)
		require.Equal(t, old, w.certificateOf(2))
		r, err := w.m.RotateCertificate(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, old, r.ID)
		require.Equal(t, 3, r.Subscriptions)
		require.Len(t, w.m.DecryptionKeys(), 2)
		require.Contains(t, told[len(told)-1], r.ID, "whoever decrypts knows it before Graph does")
		require.Contains(t, told[len(told)-1], old)

		// One after the other, over an hour.
		w.pass(time.Minute)
		changed := func() (n int) {
			for i := range 3 {
				if w.certificateOf(i) == r.ID {
					n++
				}
			}
			return n
		}
		require.Equal(t, 1, changed())
		w.pass(20 * time.Minute)
		require.Equal(t, 2, changed())
		w.pass(40 * time.Minute)
		require.Equal(t, 3, changed())
		require.Len(t, w.m.DecryptionKeys(), 2, "Graph may still repeat what is under the old one")
		w.stop()
		w.start()
		require.Contains(t, w.m.DecryptionKeys(), old)
		w.pass(4*time.Hour + 30*time.Minute)
		require.Contains(t, w.m.DecryptionKeys(), old, "Graph repeats for 4 h")
		w.pass(time.Hour)
		require.NotContains(t, w.m.DecryptionKeys(), old)
		require.Contains(t, w.m.DecryptionKeys(), r.ID)
		require.Equal(t, 3, changed())
	})
}

// TestCertificateRotationWithASpareHasNoGap: the spare takes each shard over in turn.
func TestCertificateRotationWithASpareHasNoGap(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.authorize(1)
		old := w.certificateOf(0)
		w.graph.fail("delete", fault{times: 1 << 20, err: errNet})
		_, err := w.m.RotateCertificate(t.Context())
		require.NoError(t, err)
		w.pass(time.Minute)
		require.Equal(t, old, w.certificateOf(0), "the old one is there still")
		require.NotEqual(t, old, w.certificateOf(1), "when the new one is made")
		w.graph.fail("delete", fault{})
		w.pass(5 * time.Minute)
		require.Len(t, w.graph.watched(), 1)
		require.Equal(t, ids(0, 5), w.graph.watched()[owner(1)])
	})
}

// TestOldCertificateIsKeptWhileUsed: as long as a subscription names it, however long that takes.
func TestOldCertificateIsKeptWhileUsed(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.cfg.RotateOver = 48 * time.Hour
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		w.authorize(1)
		old := w.certificateOf(0)
		_, err := w.m.RotateCertificate(t.Context())
		require.NoError(t, err)
		w.pass(23 * time.Hour)
		require.Len(t, w.graph.watched(), 2)
		require.Contains(t, w.m.DecryptionKeys(), old)
		w.pass(7 * time.Hour)
		require.NotContains(t, w.m.DecryptionKeys(), old)
	})
}

func TestCertificateIsReplacedBeforeItExpires(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		old := w.certificateOf(0)
		w.stop()
		w.sleepUntil(w.m.certificate().ends().Add(-certificateRenewal - 30*time.Minute))
		w.start()
		w.m.SetMembers(people(0, 5))
		w.pass(10 * time.Minute)
		require.Equal(t, old, w.certificateOf(0), "made anew after so long, but with the present one")
		w.pass(2 * time.Hour)
		require.NotEqual(t, old, w.certificateOf(0))
		require.Greater(t, time.Until(w.m.certificate().ends()), certificateRenewal)
		w.pass(6 * time.Hour)
		require.NotContains(t, w.m.DecryptionKeys(), old)
	})
}

// sleepUntil lets virtual time go by while nothing runs.
func (w *world) sleepUntil(at time.Time) { time.Sleep(time.Until(at)) }

// fileRing makes the world's master key one in a file.
func (w *world) fileRing() string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "master.key")
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x07", 32))) + "\n" // masterKey's
	require.NoError(w.t, os.WriteFile(file, []byte(key), 0o600))
	w.openRing(file)
	return file
}

func (w *world) openRing(file string) {
	w.t.Helper()
	ring, err := keyring.OpenOrCreate(file, false)
	require.NoError(w.t, err)
	w.ring = ring
}

// older counts what is stored under another key than the newest one.
func (w *world) older() (older, values int) {
	w.t.Helper()
	x := resealer{sealer: spy{w.ring, &older}, account: account}
	w.store.with(func() {
		for _, e := range w.store.entries {
			_, _, err := x.entry(e)
			require.NoError(w.t, err)
		}
	})
	return older, x.done.Values
}

// spy counts what is opened because it is not under the newest key.
type spy struct {
	*keyring.Keyring
	n *int
}

func (s spy) Open(sealed, context []byte) ([]byte, error) {
	*s.n++
	return s.Keyring.Open(sealed, context)
}

func TestResealWhileRunning(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		file := w.fileRing()
		current := "secret-state"
		w.cfg.CurrentClientState = func(s string) bool { return strings.HasPrefix(s, current) }
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		w.authorize(1)
		_, err := w.m.Authorize(t.Context(), Order{UPN: upn(2), Method: ByLink})
		require.NoError(t, err)
		w.pass(time.Second)
		_, err = w.m.Remove(t.Context(), upn(1))
		require.NoError(t, err)
		_, err = w.m.Add(t.Context(), Order{UPN: upn(1)})
		require.NoError(t, err)
		w.authorize(1)
		w.pass(time.Second)

		_, err = keyring.AddKey(file)
		require.NoError(t, err)
		require.NoError(t, w.ring.Reload())
		before, values := w.older()
		require.Equal(t, values, before)
		require.Equal(t, 6, values, "two tokens, two client states, a sign-in, a private key")
		r, err := w.m.Reseal(t.Context())
		require.NoError(t, err)
		require.Equal(t, Resealed{Values: 6, Resealed: 6}, r)
		after, values := w.older()
		require.Zero(t, after)
		require.Equal(t, 6, values)
		again, err := w.m.Reseal(t.Context())
		require.NoError(t, err)
		require.Equal(t, Resealed{Values: 6}, again)

		_, err = keyring.RetireKeys(file)
		require.NoError(t, err)
		w.stop()
		w.openRing(file)
		current = "made with the new key: " // which none was yet
		w.start()
		w.m.SetMembers(people(0, 700))
		w.pass(40 * time.Minute)
		for i := range 2 {
			require.Equal(t, StateAuthorized, w.info(i).State)
		}
		require.Len(t, w.graph.watched(), 2)
		require.GreaterOrEqual(t, w.graph.count("create"), 5, "subscriptions with a clientState of the old key are made anew")
		flows := 0
		for _, f := range w.m.flows {
			if f.State == FlowPending && f.URL != "" {
				flows++
			}
		}
		require.Equal(t, 1, flows, "the link that was sent is still good")
	})
}

// TestWhatFollowsARotationIsUnderTheNewKey: also what was sealed just before and could not be stored.
func TestWhatFollowsARotationIsUnderTheNewKey(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		file := w.fileRing()
		w.start()
		w.m.SetMembers(people(0, 5))
		w.authorize(0)
		w.store.with(func() { w.store.away = true })
		require.Error(t, w.m.byUPN(upn(0)).SaveRefreshToken(t.Context(), "secret-late-token"))
		_, err := keyring.AddKey(file)
		require.NoError(t, err)
		require.NoError(t, w.ring.Reload())
		_, err = w.m.Reseal(t.Context())
		require.Error(t, err, "nothing may be retired then")
		w.store.with(func() { w.store.away = false })
		_, err = w.m.Reseal(t.Context())
		require.NoError(t, err)
		older, _ := w.older()
		require.Zero(t, older)
		token, err := w.m.byUPN(upn(0)).LoadRefreshToken(t.Context())
		require.NoError(t, err)
		require.Equal(t, "secret-late-token", token)
	})
}

// TestResealStopsAnywhere: the process dies before and after each write, running or not. What is stored opens with what
// is in the key file, and the next attempt finishes.
func TestResealStopsAnywhere(t *testing.T) {
	for _, running := range []bool{false, true} {
		for _, landed := range []bool{false, true} {
			for n, done := 0, false; !done; n++ {
				t.Run(fmt.Sprint(running, landed, n), func(t *testing.T) { done = resealStopped(t, running, landed, n) })
				require.Less(t, n, 20)
			}
		}
	}
}

// resealStopped has the n-th write be the last one, and tells whether there were not as many.
func resealStopped(t *testing.T, running, landed bool, n int) (finished bool) {
	t.Helper()
	bubble(t, 2, func(t *testing.T, w *world) {
		file := w.fileRing()
		w.start()
		w.m.SetMembers(people(0, 700))
		w.authorize(0)
		w.authorize(1)
		w.pass(time.Second)
		if !running {
			w.stop()
		}
		_, err := keyring.AddKey(file)
		require.NoError(t, err)
		require.NoError(t, w.ring.Reload())
		w.store.with(func() { w.store.fuse = &fuse{left: n, lands: landed} })
		reseal := func(ctx context.Context) error {
			if running {
				_, err := w.m.Reseal(ctx)
				return err
			}
			_, err := ResealStored(ctx, account, w.store, w.ring)
			return err
		}
		err = reseal(t.Context())
		finished = err == nil
		// The process is gone; another one begins with what is stored.
		w.stop()
		w.store.with(func() { w.store.fuse = nil })
		w.openRing(file)
		w.start()
		w.m.SetMembers(people(0, 700))
		w.pass(time.Minute)
		for i := range 2 {
			require.Equal(t, StateAuthorized, w.info(i).State)
			require.NoError(t, w.m.byUPN(upn(i)).delegated.Refresh(t.Context()))
		}
		require.Len(t, w.m.DecryptionKeys(), 1)
		_, err = w.m.Reseal(t.Context())
		require.NoError(t, err)
		older, values := w.older()
		require.Zero(t, older)
		require.Equal(t, 5, values)
		_, err = keyring.RetireKeys(file)
		require.NoError(t, err)
		w.stop()
		w.openRing(file)
		w.start()
		w.m.SetMembers(people(0, 700))
		w.pass(time.Minute)
		for i := range 2 {
			require.Equal(t, StateAuthorized, w.info(i).State)
			require.NoError(t, w.m.byUPN(upn(i)).delegated.Refresh(t.Context()))
		}
		require.Len(t, w.graph.watched(), 2)
	})
	return finished
}

// TestResealOfWhatNobodyReads: values that no key opens are counted and left, entries that are no monitors are done too.
func TestResealOfWhatNobodyReads(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		file := w.fileRing()
		sealed, err := w.ring.Seal([]byte("token"), sealContext(account, "m-stray", sealedToken))
		require.NoError(t, err)
		foreign, err := otherRing(t).Seal([]byte("token"), sealContext(account, "m-foreign", sealedToken))
		require.NoError(t, err)
		for key, token := range map[string][]byte{"m-stray": sealed, "m-foreign": foreign} {
			value, err := json.Marshal(record{UPN: "nobody", Token: token})
			require.NoError(t, err)
			_, err = w.store.Put(t.Context(), account, key, value, 0)
			require.NoError(t, err)
		}
		_, err = w.store.Put(t.Context(), account, "m-rubbish", []byte("rubbish"), 0)
		require.NoError(t, err)
		w.start()
		_, err = keyring.AddKey(file)
		require.NoError(t, err)
		require.NoError(t, w.ring.Reload())
		r, err := w.m.Reseal(t.Context())
		require.NoError(t, err)
		require.Equal(t, Resealed{Values: 3, Resealed: 2, Unreadable: 1}, r)
		r, err = ResealStored(t.Context(), account, w.store, w.ring)
		require.NoError(t, err)
		require.Equal(t, Resealed{Values: 3, Unreadable: 1}, r)
		synctest.Wait()
	})
}

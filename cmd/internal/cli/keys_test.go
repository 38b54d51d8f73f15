package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// signedIn signs the site's monitor in and waits for its subscription.
func signedIn(t *testing.T, file string, s *site) {
	t.Helper()
	c := start(t, "monitors", "authorize", s.monitor(), "--config", file)
	eventually(t, func() bool { return len(s.graph.DeviceCodes()) == 1 }, "a code waits")
	require.NoError(t, s.graph.Approve(s.graph.DeviceCodes()[0].UserCode, s.monitor()))
	require.Equal(t, 0, c.wait(t), c.err.String())
	eventually(t, func() bool { return len(s.graph.Subscriptions()) == 1 }, "a subscription is made")
}

// stillSignedIn has the monitor's stored sign-in used afresh.
func stillSignedIn(t *testing.T, file string, s *site) {
	t.Helper()
	eventually(t, func() bool {
		r := run(t, "monitors", "renew", s.monitor(), "--config", file)
		return r.code == 0 && strings.Contains(r.out, "nobody has to sign in again")
	}, "the stored sign-in is good")
}

func masterKeyOf(file string) string { return filepath.Join(filepath.Dir(file), "data", "master.key") }

// keyLines are the lines of the key file that hold master keys.
func keyLines(t *testing.T, file string) (keys []string) {
	t.Helper()
	text, err := os.ReadFile(masterKeyOf(file))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "webhook") {
			keys = append(keys, line)
		}
	}
	return keys
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, c := serving(t, s)
	signedIn(t, file, s)
	first := keyLines(t, file)
	upn := s.upn(0)
	require.NoError(t, s.graph.SignIn(upn))

	out := good(t, "keys", "rotate", "--config", file)
	require.Contains(t, out, "new key")
	require.Contains(t, out, "3 of them now") // token, client state, private key
	require.Contains(t, out, "was retired")
	second := keyLines(t, file)
	require.Len(t, second, 1)
	require.NotEqual(t, first, second)
	stillSignedIn(t, file, s)
	// What Graph sends under the old clientState, or under a new one, is taken: with a sweep so slow, only pushes tell.
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return shows(t, file, upn, "InACall") }, "a push comes through")
	require.Equal(t, 0, c.terminate(t), c.err.String())
	for _, text := range []string{out, c.err.String()} {
		for _, key := range append(first, second...) {
			require.NotContains(t, text, key)
		}
	}

	// Stopped, the command does it alone; the bridge finds everything.
	out = good(t, "keys", "rotate", "--config", file, "--keep-old")
	require.Contains(t, out, "not needed any more once every replica")
	require.Len(t, keyLines(t, file), 2)
	out = good(t, "keys", "rotate", "--config", file, "--json")
	require.Contains(t, out, `"resealed": 0`)
	third := keyLines(t, file)
	require.Len(t, third, 1)
	require.NotEqual(t, second, third)
	// By hand, where the file cannot be written.
	byHand := strings.Repeat("QUJD", 10) + "QUI="
	write(t, masterKeyOf(file), byHand+"\n"+third[0]+"\n")
	out = good(t, "keys", "rotate", "--config", file, "--keep-file")
	require.Contains(t, out, "3 of them now")
	write(t, masterKeyOf(file), byHand+"\n")
	c = start(t, "serve", "--config", file)
	c.says(t, "presence-bridge is running")
	stillSignedIn(t, file, s)
	require.Equal(t, 0, c.terminate(t), c.err.String())

	require.Contains(t, bad(t, "keys", "rotate"), "--config")
	require.NoError(t, os.Remove(masterKeyOf(file)))
	require.Contains(t, bad(t, "keys", "rotate", "--config", file), "master.key")
}

func TestKeysRotateCertificate(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, c := serving(t, s)
	signedIn(t, file, s)
	before := s.graph.Subscriptions()[0].ID
	out := good(t, "keys", "rotate-certificate", "--config", file)
	require.Contains(t, out, "contoso: new certificate contoso-")
	require.Contains(t, out, "1 subscriptions are made anew")
	eventually(t, func() bool {
		subs := s.graph.Subscriptions()
		return len(subs) == 1 && subs[0].ID != before
	}, "the subscription is made anew")
	upn := s.upn(0)
	require.NoError(t, s.graph.SignIn(upn))
	require.NoError(t, s.graph.StartCall(upn))
	eventually(t, func() bool { return shows(t, file, upn, "InACall") }, "what is encrypted under it is read")
	require.Contains(t, good(t, "keys", "rotate-certificate", "--config", file, "--account", "contoso", "--json"), `"certificate_id"`)
	require.Contains(t, bad(t, "keys", "rotate-certificate", "--config", file, "--account", "nobody"), "nobody")
	require.Equal(t, 0, c.terminate(t), c.err.String())
	require.Contains(t, bad(t, "keys", "rotate-certificate", "--config", file), "is it running")
}

// TestKilledRotationGoesOn kills the command, and the bridge with it, while they rotate the key. Whatever was reached, the
// bridge starts and works, and the next rotate finishes.
func TestKilledRotationGoesOn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "contoso", 2, 1)
	file, bridge := serving(t, s)
	signedIn(t, file, s)
	for i, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		running := i%2 == 0
		if !running {
			require.Equal(t, 0, bridge.terminate(t), bridge.err.String())
		}
		before := keyLines(t, file)
		command := start(t, "keys", "rotate", "--config", file)
		eventually(t, func() bool { return !equalLines(keyLines(t, file), before) || command.over() }, "the new key is in the file")
		select {
		case <-time.After(after):
		case <-command.ended:
		}
		require.NoError(t, killed(command))
		if running {
			require.NoError(t, killed(bridge))
		}
		bridge = start(t, "serve", "--config", file)
		bridge.says(t, "presence-bridge is running")
		stillSignedIn(t, file, s)
		out := good(t, "keys", "rotate", "--config", file)
		require.Contains(t, out, "are sealed under")
		keys := keyLines(t, file)
		require.Len(t, keys, 1)
		require.NotEqual(t, before[0], keys[0])
		stillSignedIn(t, file, s)
	}
	require.Equal(t, 0, bridge.terminate(t), bridge.err.String())
	bridge = start(t, "serve", "--config", file)
	bridge.says(t, "presence-bridge is running")
	stillSignedIn(t, file, s)
	require.Equal(t, 0, bridge.terminate(t), bridge.err.String())
}

// killed ends a child with SIGKILL, if it has not ended by itself.
func killed(c *child) error {
	if c.over() {
		return nil
	}
	err := c.cmd.Process.Kill()
	<-c.ended
	if err != nil && strings.Contains(err.Error(), "finished") {
		return nil
	}
	return err
}

func equalLines(a, b []string) bool {
	return bytes.Equal([]byte(strings.Join(a, "\n")), []byte(strings.Join(b, "\n")))
}

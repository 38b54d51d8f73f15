package notify

import (
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// cpuTime is what this process has spent so far; on a busy machine elapsed time says little.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rsaOperation is the bare cost of an RSA private operation, measured now: what nobody can save.
func rsaOperation(b *testing.B) time.Duration {
	b.Helper()
	key := testKeys()["content"]
	s := seal(&key.PublicKey, "c1", "x")
	const rounds = 200
	begun := cpuTime(b)
	for range rounds {
		if _, err := rsa.DecryptOAEP(sha1.New(), nil, key, s.WrappedKey, nil); err != nil {
			b.Fatal(err)
		}
	}
	return (cpuTime(b) - begun) / rounds
}

func BenchmarkRSAPrivateOperation(b *testing.B) {
	key := testKeys()["content"]
	s := seal(&key.PublicKey, "c1", "x")
	for b.Loop() {
		if _, err := rsa.DecryptOAEP(sha1.New(), nil, key, s.WrappedKey, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeRich decodes a body of one rich item whose token is known. It reports the ratio to the
// bare RSA operation of the same run, in CPU time.
func BenchmarkDecodeRich(b *testing.B) {
	for name, filter := range map[string]int{"plain": 0, "filter28KB": 650} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			item := richItem(alice, w.seal(alice, "Busy", "InACall"))
			if filter > 0 {
				item["resource"] = echoedFilter(filter)
			}
			body := bodyOf(b, []string{w.token()}, item)
			require.NoError(b, w.decode(body).Items[0].Err)
			bare := rsaOperation(b)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			begun := cpuTime(b)
			for b.Loop() {
				if r := w.decoder.Decode(b.Context(), body, nil); r.Items[0].Err != nil {
					b.Fatal(r.Items[0].Err)
				}
			}
			spent := cpuTime(b) - begun
			bare = (bare + rsaOperation(b)) / 2
			b.ReportMetric(float64(spent)/float64(b.N)/float64(bare), "cpu/rsa")
		})
	}
}

// BenchmarkScanHeads is the receiver's share.
func BenchmarkScanHeads(b *testing.B) {
	w := newWorld(b)
	small := with(richItem(alice, w.seal(alice, "Busy", "InACall")), nil)
	large := with(small, map[string]any{"resource": echoedFilter(650)})
	token := strings.Repeat("x", 200)
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"1KB", bodyOf(b, []string{token}, with(small, map[string]any{"encryptedContent": map[string]any{"data": base64.StdEncoding.EncodeToString(make([]byte, 200))}}))},
		{"filter28KB", bodyOf(b, []string{token}, large)},
		{"100items", bodyOf(b, []string{token}, repeat(small, 100)...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				if err := ScanHeads(c.body, func(Head) bool { return true }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// echoedFilter is a resource with n ids, as Graph echoes it: percent- and plus-encoded.
func echoedFilter(n int) string {
	return "communications/presences?$filter=id+in+(" + strings.TrimSuffix(strings.Repeat("%27"+alice+"%27,", n), ",") + ")"
}

func repeat(item any, n int) []any {
	items := make([]any, n)
	for i := range items {
		items[i] = item
	}
	return items
}

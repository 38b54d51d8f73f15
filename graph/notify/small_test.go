package notify

import (
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseTime(t *testing.T) {
	for s, want := range map[string]time.Time{
		"2024-04-19T23:58:00.4569264":       time.Date(2024, 4, 19, 23, 58, 0, 456926400, time.UTC),
		"2023-09-14T10:00:00.0000000Z":      time.Date(2023, 9, 14, 10, 0, 0, 0, time.UTC),
		"2020-05-01T10:00:00.1234567+00:00": time.Date(2020, 5, 1, 10, 0, 0, 123456700, time.UTC),
		"2020-05-01T12:00:00+02:00":         time.Date(2020, 5, 1, 10, 0, 0, 0, time.UTC),
		"2020-05-01T10:00:00+0000":          time.Date(2020, 5, 1, 10, 0, 0, 0, time.UTC),
		"2020-05-01t10:00:00z":              time.Date(2020, 5, 1, 10, 0, 0, 0, time.UTC),
		" 2020-05-01 10:00:00 ":             time.Date(2020, 5, 1, 10, 0, 0, 0, time.UTC),
		"2020-05-01T10:00":                  time.Date(2020, 5, 1, 10, 0, 0, 0, time.UTC),
		"2020-05-01T10:00:00.123456789012Z": time.Date(2020, 5, 1, 10, 0, 0, 123456789, time.UTC),
	} {
		got, err := ParseTime(s)
		require.NoError(t, err, s)
		assert.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "tomorrow", "2020-13-01T10:00:00Z", "1588327200", "2020-05-01"} {
		_, err := ParseTime(s)
		assert.Error(t, err, s)
	}
}

func TestDropTrailingCommas(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1,}`: `{"a":1 }`, `[1, ]`: `[1  ]`, `[{"a":[1,],},]`: `[{"a":[1 ] } ]`, `["a,]",]`: `["a,]" ]`, `["\",]",]`: `["\",]" ]`,
	} {
		got, found := dropTrailingCommas([]byte(in))
		assert.True(t, found, in)
		assert.Equal(t, want, string(got))
	}
	for _, in := range []string{`[,]`, `{,}`, `[1,,]`, `,]`, `{"a":,}`, `[1,2]`, `"a,]"`, `["a,]`, ``, `["\`} {
		got, found := dropTrailingCommas([]byte(in))
		if found {
			assert.Contains(t, []string{`[1,,]`}, in, "%s", got)
		} else {
			assert.Equal(t, in, string(got))
		}
	}
}

func TestKeyring(t *testing.T) {
	keys := testKeys()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	ring, err := NewKeyring()
	require.NoError(t, err)
	c, _ := ring.find("c1", "")
	assert.Nil(t, c, "an empty ring finds nothing")
	c, _ = (&Keyring{}).find("c1", "aa")
	assert.Nil(t, c)

	require.NoError(t, ring.Set(Certificate{ID: "c1", Key: keys["content"]}, Certificate{Thumbprint: "AB:cd ef", Key: keys["big"]}))
	for name, certs := range map[string][]Certificate{
		"2048":     {{ID: "x", Key: small}},
		"no priv":  {{ID: "x"}},
		"neither":  {{Key: keys["content"]}},
		"is there": {{ID: "x", Key: keys["content"]}, {ID: "x", Key: keys["big"]}},
	} {
		require.ErrorContains(t, ring.Set(certs...), name)
		c, _ = ring.find("c1", "")
		assert.NotNil(t, c, "the old ones stay")
	}
	c, second := ring.find("unknown", "abCDEF")
	require.NotNil(t, c)
	assert.True(t, second)
	assert.Equal(t, keys["big"], c.Key)
	c, _ = ring.find("C1", "")
	assert.Nil(t, c, "ids are compared exactly")
}

func TestNewCertificate(t *testing.T) {
	keys := testKeys()
	der := selfSigned(t, keys["content"], time.Now().Add(-time.Hour))
	c, err := NewCertificate("c1", der, keys["content"])
	require.NoError(t, err)
	assert.Equal(t, strings.ToUpper(hexSHA1(der)), c.Thumbprint)
	assert.True(t, c.NotAfter.Before(time.Now()), "an expired certificate is as good as any")
	_, err = NewCertificate("c1", der, keys["big"])
	require.ErrorContains(t, err, "not the one of this certificate")
	_, err = NewCertificate("c1", der, nil)
	require.Error(t, err)
	_, err = NewCertificate("c1", []byte("x"), keys["big"])
	require.Error(t, err)
}

func TestPoolIsSharedAndBounded(t *testing.T) {
	pool := NewPool(2)
	var now, most atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			pool.each(t.Context(), 25, func(int) {
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				now.Add(-1)
			})
		})
	}
	wg.Wait()
	assert.LessOrEqual(t, most.Load(), int32(2))
	assert.Positive(t, NewPool(0).Size())
}

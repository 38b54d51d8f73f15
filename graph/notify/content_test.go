package notify

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// opensslContent was made with OpenSSL 3 for the test key "content": pkeyutl with OAEP and SHA-1,
// enc -aes-256-cbc with the first half of the key as IV, dgst -mac HMAC over the ciphertext.
func opensslContent() map[string]any {
	return map[string]any{
		"data": "nTMpSZJYXuOeut0pe+fp1gdcmAYVz6bWgFtsxYxZdwEgdbplT0Arbw3AA7N+suxOHs/H7o7ejyjou+EtZBht2dAl/MgfHjlMFJJZ" +
			"uRySy8pzzEz2FKsnjYaUufLcBmQ619OtBIBhYyIIRPiG3fut/wGi/aFxBjqSj3YaV3yESjqMROnQCMDMU771yA1FO6jAn0XaV5/v" +
			"oz3kcRC9CHhWfBc8miDSUNW1si4Zf+YPVwxaifS9hfVFE+wg2aet0564d6xR66vtOzcGjwgvpPf6Eg==",
		"dataKey": "iWh2X15S5ZcoyJIWN3D8gGR3baJyPCjxsdPdqpxwINaKBo7yQ2MkdN7surhW7kTEVFMDwfPjsIbhIN74uZ/DYWXPrQn7J9tdc9oQ" +
			"xF5UGjOB04TMQbQJEDnmptoYosNZAWfT9XJQ63cSRZY82GtrTW91E3gyxymceLtP9n8BXwqpXhpWnD2I4Lg24jgCYZ2HwUXnqGvb" +
			"G8KUJ7P5/Xd0QlwtqmaDDrRTDrvxyhP5rAAsV7VXKoWcATXIN1142bG2n3I764lR0TZi5TPeYljXa3z5o+Y5sfeRYQPguKfKb4dG" +
			"BvyFsWTuFKJXET0xd+Ab7TAAbk2W+BpIrI/IbSh2bQ==",
		"dataSignature":                   "6huE6r0ipVMKZYvTKuw/Jey6gziCdhySqbxxk9yXtSI=",
		"encryptionCertificateId":         "c1",
		"encryptionCertificateThumbprint": nil,
	}
}

func TestDecodeWhatOpenSSLMade(t *testing.T) {
	w := newWorld(t)
	got := w.one([]string{w.token()}, with(richItem(alice, sealed{}), map[string]any{"encryptedContent": opensslContent()}))
	require.NoError(t, got.Err)
	assert.Equal(t, "DoNotDisturb/Presenting", got.Pair.String())
	assert.Equal(t, alice, got.UserID)
}

// TestNothingIsDecryptedBeforeTheHMAC damages padding and signature at once: the padding must not be
// what is complained of, or a sender could learn about plaintext by trying.
func TestNothingIsDecryptedBeforeTheHMAC(t *testing.T) {
	w := newWorld(t)
	for _, cut := range []int{1, 16, 17} {
		s := w.seal(alice, "Busy", "Busy")
		s.Data = s.Data[:len(s.Data)-cut]
		got := w.one([]string{w.token()}, richItem(alice, s))
		assert.Equal(t, ReasonSignature, ReasonOf(got.Err))
	}
}

func TestOpenSaysHowFarItGot(t *testing.T) {
	key := testKeys()["content"]
	good := seal(&key.PublicKey, "c1", "{}")
	steps := func(change func(*sealed)) [4]bool {
		s := good
		change(&s)
		var raw rawContent
		b, err := json.Marshal(s.object())
		require.NoError(t, err)
		var m map[string]string
		require.NoError(t, json.Unmarshal(b, &m))
		raw.data, raw.signature, raw.key = m["data"], m["dataSignature"], m["dataKey"]
		o, _ := raw.open(key)
		return [4]bool{o.decoded, o.unwrapped, o.signed, o.decrypted}
	}
	assert.Equal(t, [4]bool{true, true, true, true}, steps(func(*sealed) {}))
	assert.Equal(t, [4]bool{true, true, true, false}, steps(func(s *sealed) { s.encrypt(make([]byte, 16)) }))
	assert.Equal(t, [4]bool{true, true, false, false}, steps(func(s *sealed) { s.Signature = []byte("x") }))
	assert.Equal(t, [4]bool{true, false, false, false}, steps(func(s *sealed) { s.WrappedKey = make([]byte, 256) }))
	assert.Equal(t, [4]bool{false, false, false, false}, steps(func(s *sealed) { s.Data = nil }))
}

func TestUnpad(t *testing.T) {
	for padded, want := range map[string]string{
		"\x01":                            "",
		"fifteen bytes..\x01":             "fifteen bytes..",
		"ab" + strings.Repeat("\x0e", 14): "ab",
		"a\x02\x01\x01":                   "a\x02\x01",
		strings.Repeat("\x10", 16):        "",
		"sixteen bytes..." + strings.Repeat("\x10", 16): "sixteen bytes...",
	} {
		got, ok := unpad([]byte(padded))
		assert.True(t, ok, "%q", padded)
		assert.Equal(t, want, string(got))
	}
	for _, padded := range []string{"\x00", "\x02", "a\x03\x02\x03", strings.Repeat("\x11", 17), strings.Repeat("\xff", 32), "ab\x01\x02"} {
		_, ok := unpad([]byte(padded))
		assert.False(t, ok, "%q", padded)
	}
}

func TestParsePlain(t *testing.T) {
	p, err := parsePlain([]byte(`{"@odata.context":"x","id":"a","@odata.id":"b","@odata.type":"c","availability":"d","activity":"e","sequenceNumber":"f",` +
		`"statusMessage":{"message":{"content":"id"}},"outOfOfficeSettings":null,"n":[1,{"id":2}]}`))
	require.Nil(t, err)
	assert.Equal(t, plainPresence{ID: "a", ODataID: "b", ODataType: "c", Availability: "d", Activity: "e", Sequence: "f"}, p)
	for _, bad := range []string{``, `{`, `null`, `"x"`, `{} x`, `{"id":{}}`, `{"id":"a","id":"b"}`, `{"a":1,}`, "{\"secret-word\":tru"} {
		_, err := parsePlain([]byte(bad))
		require.NotNil(t, err, bad)
		assert.Equal(t, ReasonPlaintext, err.Reason)
		assert.NotContains(t, err.Error(), "secret-word", "an error is logged, a presence is not")
	}
}

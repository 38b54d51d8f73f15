package cli

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someone = "11111111-2222-4333-8444-555555555555"

// sealed is a rich item as Graph makes it (learn:change-notifications-with-resource-data), signed over the ciphertext.
func sealed(t *testing.T, to *rsa.PublicKey, plain string) map[string]any {
	t.Helper()
	key := make([]byte, 32)
	_, err := rand.Read(key)
	require.NoError(t, err)
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	data := append([]byte(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	block, err := aes.NewCipher(key)
	require.NoError(t, err)
	cipher.NewCBCEncrypter(block, key[:aes.BlockSize]).CryptBlocks(data, data)
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	dataKey, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, to, key, nil)
	require.NoError(t, err)
	enc := base64.StdEncoding.EncodeToString
	return map[string]any{
		"subscriptionId": "s", "changeType": "updated", "tenantId": "t", "clientState": "c",
		"resourceData": map[string]any{"@odata.id": "users/" + someone + "/presence"},
		"encryptedContent": map[string]any{
			"data": enc(data), "dataSignature": enc(mac.Sum(nil)), "dataKey": enc(dataKey), "encryptionCertificateId": "id",
		},
	}
}

func keyFile(t *testing.T) (string, *rsa.PublicKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return name, &key.PublicKey
}

// unsignedToken is a validation token whose signature is not checked here, for want of --jwks.
func unsignedToken() string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"RS256","kid":"k"}`) + "." + part(`{"ver":"2.0","tid":"t","aud":"a","exp":4102444800,`+
		`"iss":"https://login.microsoftonline.com/t/v2.0","azp":"0bf30f3b-4a52-48df-9a82-234910c4a086"}`) + "." + part("x")
}

func TestDecodeSaysInItsExitStatusWhatIsRefused(t *testing.T) {
	name, public := keyFile(t)
	other, _ := keyFile(t)
	good := sealed(t, public, `{"id":"`+someone+`","availability":"busy","activity":"inACall"}`)
	tampered := sealed(t, public, `{"id":"`+someone+`","availability":"Away","activity":"Away"}`)
	tampered["encryptedContent"].(map[string]any)["dataSignature"] = base64.StdEncoding.EncodeToString(make([]byte, sha256.Size))
	body := func(tokens []string, items ...any) string {
		b, err := json.Marshal(map[string]any{"value": items, "validationTokens": tokens})
		require.NoError(t, err)
		return string(b)
	}
	tokens := []string{unsignedToken()}
	for _, c := range []struct{ name, key, body, says, err string }{
		{"good", name, body(tokens, good), "Busy/InACall", ""},
		{"tampered", name, body(tokens, good, tampered), "data signature   failed", "refuse 1 of 2 items"},
		{"another key", other, body(tokens, good), "data key         failed", "refuse 1 of 1 items"},
		{"no tokens", name, body(nil, good), "token_missing", "refuse 1 of 1 items"},
		{"no JSON", name, "garbage", "malformed_body", "refuse this notification"},
		{"lifecycle", name, body(nil, map[string]any{"subscriptionId": "s", "tenantId": "t", "clientState": "c", "lifecycleEvent": "missed"}), "missed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, format := range [][]string{nil, {"--json"}} {
				cmd := newNotification()
				var out bytes.Buffer
				cmd.SetArgs(append([]string{"decode", "--key", c.key}, format...))
				cmd.SetIn(strings.NewReader(c.body))
				cmd.SetOut(&out)
				cmd.SetErr(&out)
				cmd.SilenceErrors, cmd.SilenceUsage = true, true
				err := cmd.Execute()
				if format == nil {
					assert.Contains(t, out.String(), c.says)
				} else {
					assert.True(t, json.Valid(out.Bytes()), out.String())
				}
				if c.err == "" {
					assert.NoError(t, err)
				} else {
					assert.ErrorContains(t, err, c.err)
				}
			}
		})
	}
}

package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// writeFile writes a file and returns its name.
func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, []byte(text), mode))
	return file
}

// certificate makes a self-signed certificate and its key, in PEM.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func TestExampleWithItsFiles(t *testing.T) {
	src, err := os.ReadFile(example)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key := certificate(t)
	writeFile(t, dir, "tls.crt", cert, 0o600)
	writeFile(t, dir, "tls.key", key, 0o600)
	writeFile(t, dir, "contoso-client-secret", "s\n", 0o600)
	writeFile(t, dir, "contoso-pbx-token", "t\n", 0o644)
	text := strings.ReplaceAll(string(src), "/etc/presence-bridge/", "")
	c, err := Parse(filepath.Join(dir, "config.yaml"), []byte(text), Options{Files: true})
	require.NoError(t, err)
	require.Len(t, c.Warnings, 1)
	require.Contains(t, c.Warnings[0].String(), "accounts[0].pbx[0].token_file: every user of this machine can read")
}

func TestFilesThatAreWrong(t *testing.T) {
	dir := t.TempDir()
	cert, _ := certificate(t)
	_, otherKey := certificate(t)
	writeFile(t, dir, "tls.crt", cert, 0o600)
	writeFile(t, dir, "tls.key", otherKey, 0o600)
	writeFile(t, dir, "empty", "\n", 0o600)
	writeFile(t, dir, "short", "aGVsbG8=\n", 0o600)
	writeFile(t, dir, "nocert", "hello", 0o600)
	src := "data_dir: empty\ntls: {certificate_file: tls.crt, key_file: tls.key}\nmaster_key_file: short\nwebhook_key_file: none\nadmin: {token_file: empty}\n" +
		strings.Replace(minimal, "token_file: token", "token_file: ., ca_file: nocert", 1)
	_, err := Parse(filepath.Join(dir, "config.yaml"), []byte(src), Options{Files: true})
	require.Error(t, err)
	for _, want := range []string{
		"data_dir: " + dir + "/empty is not a folder; name a folder",
		"tls.certificate_file: cannot be used with key_file: tls: private key does not match public key",
		"master_key_file: " + dir + "/short holds 5 bytes, want 32; restore it from a backup",
		"webhook_key_file: " + dir + "/none does not exist; create it",
		"admin.token_file: " + dir + "/empty is empty; write the secret into it",
		"accounts[0].pbx[0].token_file: " + dir + " cannot be read: is a directory; name a readable file",
		"accounts[0].graph.client_secret_file: " + dir + "/secret does not exist; create it",
		"accounts[0].pbx[0].ca_file: " + dir + "/nocert holds no certificate",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "PRIVATE")
}

func TestFileWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads every file")
	}
	dir := t.TempDir()
	writeFile(t, dir, "secret", "s", 0)
	writeFile(t, dir, "token", "t", 0o600)
	_, err := Parse(filepath.Join(dir, "config.yaml"), []byte(minimal), Options{Files: true})
	require.ErrorContains(t, err, "secret cannot be read; let the user that runs the bridge read it")
}

func TestARoleLooksOnlyAtItsOwnFiles(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "w", base64.StdEncoding.EncodeToString(make([]byte, 32)), 0o600)
	src := "nats: {url: 'tls://nats:4222'}\nwebhook_key_file: w\nmaster_key_file: none\nadmin: {token_file: none}\n" + minimal
	_, err := Parse(filepath.Join(dir, "config.yaml"), []byte(src), Options{Files: true, Roles: []Role{RoleWebhook}})
	require.NoError(t, err)
	_, err = Parse(filepath.Join(dir, "config.yaml"), []byte(src), Options{Files: true})
	require.ErrorContains(t, err, "4 problems")
	require.ErrorContains(t, err, "master_key_file: "+dir+"/none does not exist; with nats.url no replica makes a key for itself: copy the one")
}

func TestASecretIsOneLine(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "secret", "hunter2\n", 0o600)
	writeFile(t, dir, "token", "hunter2\nhunter3\n", 0o600)
	_, err := Parse(filepath.Join(dir, "config.yaml"), []byte("data_dir: .\n"+minimal), Options{Files: true})
	require.ErrorContains(t, err, "accounts[0].pbx[0].token_file: "+dir+"/token has several lines; leave only the one with the secret")
	require.NotContains(t, err.Error(), "hunter")
	writeFile(t, dir, "token", "\nhunter2\r\n\n", 0o600)
	_, err = Parse(filepath.Join(dir, "config.yaml"), []byte("data_dir: .\n"+minimal), Options{Files: true})
	require.NoError(t, err)
}

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	got, err := ReadSecret(writeFile(t, dir, "a", "  hunter2\r\n", 0o600))
	require.NoError(t, err)
	require.Equal(t, "hunter2", got)
	_, err = ReadSecret(writeFile(t, dir, "b", " \n", 0o600))
	require.ErrorContains(t, err, "the file is empty")
	_, err = ReadSecret(writeFile(t, dir, "c", "hunter2\nhunter3\n", 0o600))
	require.ErrorContains(t, err, "several lines")
	require.NotContains(t, err.Error(), "hunter")
	_, err = ReadSecret(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

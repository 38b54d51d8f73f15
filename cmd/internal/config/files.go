package config

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"presencebridge/bridge/keyring"
)

// files checks the files that this process's roles need.
func (v *validator) files() {
	c := v.config
	if info, err := os.Stat(c.DataDir); err == nil && !info.IsDir() {
		v.add("data_dir", c.DataDir+" is not a folder", "name a folder; it is made when it does not exist")
	}
	if v.has(RoleWebhook) {
		v.tlsPair()
	}
	v.secretFile("nats.credentials_file", c.NATS.CredentialsFile)
	v.authorities("nats.ca_file", c.NATS.CAFile)
	if v.has(RoleEngine) {
		v.keyFile("master_key_file", c.MasterKeyFile)
	}
	if v.has(RoleWebhook) || v.has(RoleEngine) {
		v.keyFile("webhook_key_file", c.WebhookKeyFile)
	}
	if v.has(RoleConsole) {
		v.secretFile("admin.token_file", c.Admin.TokenFile)
	}
	if !v.has(RoleEngine) {
		return
	}
	for i := range c.Accounts {
		v.accountFiles(&c.Accounts[i], fmt.Sprintf("accounts[%d]", i))
	}
}

func (v *validator) accountFiles(a *Account, path string) {
	v.secretFile(path+".graph.client_secret_file", a.Graph.ClientSecretFile)
	v.secretFile(path+".graph.certificate_file", a.Graph.CertificateFile)
	v.secretFile(path+".graph.certificate_password_file", a.Graph.CertificatePasswordFile)
	v.monitorFiles(a, path)
	v.authorities(path+".graph.endpoints.ca_file", a.Graph.Endpoints.CAFile)
	v.overridesFile(a, path)
	for i, p := range a.PBX {
		at := fmt.Sprintf("%s.pbx[%d]", path, i)
		v.secretFile(at+".token_file", p.TokenFile)
		v.secretFile(at+".client_secret_file", p.ClientSecretFile)
		v.secretFile(at+".password_file", p.PasswordFile)
		v.users(&p, at+".users_file")
		v.authorities(at+".ca_file", p.CAFile)
	}
}

// tlsPair checks that certificate and key belong together.
func (v *validator) tlsPair() {
	t := v.config.TLS
	if t.CertificateFile == "" || t.KeyFile == "" {
		return
	}
	cert, key := v.read("tls.certificate_file", t.CertificateFile), v.read("tls.key_file", t.KeyFile)
	if cert == nil || key == nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		v.add("tls.certificate_file", fmt.Sprintf("cannot be used with key_file: %v", err), "give a PEM certificate chain, leaf first, and its own PEM key")
	}
}

// keyFile checks a key as the bridge will read it.
func (v *validator) keyFile(path, file string) {
	if file == "" {
		return
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && v.config.NATS.URL != "" {
		v.add(path, file+" does not exist", "with nats.url no replica makes a key for itself: copy the one that the others have; for the first replica make one with (umask 077; head -c 32 /dev/urandom | base64 > "+file+")")
		return
	}
	_, err := keyring.ReadKey(file)
	var bad *keyring.FileError
	switch {
	case errors.As(err, &bad) && bad.Err == nil:
		v.add(path, file+" "+bad.Problem, strings.ReplaceAll(bad.Remedy, "FILE", file))
	case err != nil && v.read(path, file) != nil:
		v.add(path, err.Error(), "")
	}
}

// secretFile checks that a secret is there, and remarks when everybody on the machine can read it.
func (v *validator) secretFile(path, file string) {
	if file == "" {
		return
	}
	content := v.read(path, file)
	text := bytes.TrimSpace(content)
	whole := strings.HasSuffix(path, "certificate_file") || strings.HasSuffix(path, "credentials_file") // a PEM file has lines
	switch {
	case content == nil: // which has been said
		return
	case len(text) == 0:
		v.add(path, fmt.Sprintf("%s is empty", file), "write the secret into it")
		return
	case !whole && bytes.ContainsAny(text, "\r\n"):
		v.add(path, fmt.Sprintf("%s has several lines", file), "leave only the one with the secret")
		return
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
		v.warn(path, fmt.Sprintf("every user of this machine can read %s", file), "chmod o-r "+file)
	}
}

func (v *validator) authorities(path, file string) {
	if file == "" {
		return
	}
	if text := v.read(path, file); text != nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		v.add(path, fmt.Sprintf("%s holds no certificate", file), "give the authority's certificate in PEM form")
	}
}

// read reads a file that the configuration names; nil if that failed, which it reports.
func (v *validator) read(path, file string) []byte {
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
		return append([]byte{}, text...)
	case errors.Is(err, fs.ErrNotExist):
		v.add(path, fmt.Sprintf("%s does not exist", file), "create it, or correct the name; relative names are taken from the folder of the configuration")
	case errors.Is(err, fs.ErrPermission):
		v.add(path, fmt.Sprintf("%s cannot be read", file), "let the user that runs the bridge read it")
	default:
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		v.add(path, fmt.Sprintf("%s cannot be read: %v", file, err), "name a readable file")
	}
	return nil
}

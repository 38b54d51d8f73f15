// Package keyfile loads the private key that decrypts notifications from a file that an administrator
// has: PEM or DER (PKCS #1 or PKCS #8, encrypted or not), or PKCS #12. What a file is, its content
// says, not its name.
package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"

	"presencebridge/graph/notify"
)

// maxFileBytes bounds a key file; a chain of certificates stays far below.
const maxFileBytes = 1 << 20

// Errors that a caller may want to tell apart.
var (
	// ErrPassword means that the file needs a password, or another one.
	ErrPassword = errors.New("wrong or missing password")
	// ErrNoKey means that there is no private key in the file.
	ErrNoKey = errors.New("no private key in it")
	// ErrNotRSA means that the key is of a type that Graph does not encrypt for.
	ErrNotRSA = errors.New("not an RSA key: Graph encrypts notifications for RSA keys of 2048 to 4096 bits only")
	// ErrUnknown means that the content is of no known form.
	ErrUnknown = errors.New("neither PEM, nor DER of PKCS #1 or PKCS #8, nor PKCS #12")
)

// Key is a private key, and its certificate where the file has it.
type Key struct {
	Private *rsa.PrivateKey
	// Certificate is nil when the file holds none that belongs to the key.
	Certificate *x509.Certificate
}

// Decryption names the key for the decoder. id is the encryptionCertificateId it is known by; it may be
// empty, and then the certificate's thumbprint selects the key if there is a certificate.
func (k Key) Decryption(id string) notify.Certificate {
	c := notify.Certificate{ID: id, Key: k.Private}
	if k.Certificate != nil {
		c.Thumbprint = notify.Thumbprint(k.Certificate.Raw)
		c.NotAfter = k.Certificate.NotAfter
	}
	return c
}

// Load reads a key file. The error names the file and what to do.
func Load(file, password string) (Key, error) {
	info, err := os.Stat(file)
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	if info.Size() > maxFileBytes {
		return Key{}, fmt.Errorf("key file %s: %d bytes are too many for a key", file, info.Size())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	k, err := Parse(data, password)
	if err != nil {
		return Key{}, fmt.Errorf("key file %s: %w", file, err)
	}
	return k, nil
}

// Parse finds out what data is, and takes the key out of it. password is for files that are encrypted;
// others are read whatever it is.
func Parse(data []byte, password string) (Key, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var k Key
	var err error
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		k, err = parsePEM(data, password)
	} else {
		k, err = parseDER(data, password)
	}
	if err != nil {
		return Key{}, err
	}
	if bits := k.Private.N.BitLen(); bits < notify.MinKeyBits || bits > notify.MaxKeyBits {
		return Key{}, fmt.Errorf("an RSA key of %d bits: %w", bits, ErrNotRSA)
	}
	return k, nil
}

func parsePEM(data []byte, password string) (Key, error) {
	var k Key
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
			if c, err := x509.ParseCertificate(block.Bytes); err == nil {
				certs = append(certs, c)
			}
			continue
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY":
		default:
			continue
		}
		private, err := pemKey(block, password)
		if err != nil {
			return Key{}, err
		}
		if k.Private != nil && !k.Private.Equal(private) {
			return Key{}, errors.New("there are several private keys in it: keep one per file")
		}
		k.Private = private
	}
	if k.Private == nil {
		return Key{}, fmt.Errorf("%w (%d certificates)", ErrNoKey, len(certs))
	}
	k.Certificate = ownCertificate(k.Private, certs)
	return k, nil
}

// pemKey reads the private key in a block.
func pemKey(block *pem.Block, password string) (*rsa.PrivateKey, error) {
	switch {
	case block.Type == "OPENSSH PRIVATE KEY":
		return nil, fmt.Errorf("an OpenSSH key: convert it with: ssh-keygen -p -m PKCS8 -f FILE: %w", ErrUnknown)
	case block.Type == "ENCRYPTED PRIVATE KEY":
		return encryptedKey(block.Bytes, password)
	case block.Headers["DEK-Info"] != "":
		// RFC 1423 encryption is weak; whoever has such a file wants to read it all the same.
		der, err := x509.DecryptPEMBlock(block, []byte(password)) //nolint:staticcheck // see above
		if err != nil {
			return nil, errPasswordPEM
		}
		key, err := privateKey(der)
		if errors.Is(err, ErrUnknown) {
			// One wrong password in 256 leaves something that looks padded.
			return nil, errPasswordPEM
		}
		return key, err
	default:
		return privateKey(block.Bytes)
	}
}

var errPasswordPEM = fmt.Errorf("the key is encrypted, and cannot be decrypted with this password; or take it off with: openssl pkey -in FILE -out PLAIN: %w", ErrPassword)

// encryptedKey reads an encrypted PKCS #8 key (RFC 5958 section 3).
func encryptedKey(der []byte, password string) (*rsa.PrivateKey, error) {
	if password == "" {
		return nil, errPasswordPEM
	}
	key, err := pkcs8.ParsePKCS8PrivateKey(der, []byte(password))
	if err != nil {
		// The library cannot tell a wrong password from a cipher that it does not know.
		return nil, errPasswordPEM
	}
	return onlyRSA(key)
}

func parseDER(data []byte, password string) (Key, error) {
	if text, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(data), nil))); err == nil && len(text) > 0 {
		data = text // as key vaults export it
	}
	switch sniff(data) {
	case formPKCS12:
		return parsePKCS12(data, password)
	case formKey:
		private, err := privateKey(data)
		return Key{Private: private}, err
	case formEncryptedOrCertificate:
		if _, err := x509.ParseCertificate(data); err != nil {
			private, err := encryptedKey(data, password)
			return Key{Private: private}, err
		}
		return Key{}, fmt.Errorf("a certificate: %w", ErrNoKey)
	default:
		return Key{}, ErrUnknown
	}
}

type form uint8

const (
	formUnknown form = iota
	formPKCS12
	formKey
	formEncryptedOrCertificate
)

// sniff tells apart what begins with a SEQUENCE: PFX has version 3 first (RFC 7292 section 4), both
// kinds of private keys 0 or 1 (RFC 5208 section 5, RFC 5958 section 2, RFC 8017 appendix A.1.2), a certificate (RFC 5280
// section 4.1) and an encrypted private key (RFC 5958 section 3) another SEQUENCE.
func sniff(data []byte) form {
	var outer, first asn1.RawValue
	if _, err := asn1.Unmarshal(data, &outer); err != nil || outer.Tag != asn1.TagSequence {
		if berSequence(data) {
			return formPKCS12
		}
		return formUnknown
	}
	if _, err := asn1.Unmarshal(outer.Bytes, &first); err != nil {
		return formUnknown
	}
	switch {
	case first.Tag == asn1.TagSequence:
		return formEncryptedOrCertificate
	case first.Tag == asn1.TagInteger && bytes.Equal(first.Bytes, []byte{3}):
		return formPKCS12
	case first.Tag == asn1.TagInteger:
		return formKey
	default:
		return formUnknown
	}
}

// berSequence tells the indefinite length with which some tools write PKCS #12.
func berSequence(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0x30, 0x80, 0x02, 0x01, 0x03})
}

func parsePKCS12(data []byte, password string) (Key, error) {
	private, cert, chain, err := pkcs12.DecodeChain(data, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return Key{}, ErrPassword
	case err != nil:
		return Key{}, fmt.Errorf("PKCS #12 that cannot be read; convert it with: openssl pkcs12 -in FILE -nodes -out KEY.pem: %w", err)
	}
	key, err := onlyRSA(private)
	if err != nil {
		return Key{}, err
	}
	return Key{Private: key, Certificate: ownCertificate(key, append([]*x509.Certificate{cert}, chain...))}, nil
}

// privateKey reads the DER of a key of any form.
func privateKey(der []byte) (*rsa.PrivateKey, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return onlyRSA(key)
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return nil, fmt.Errorf("an elliptic-curve key: %w", ErrNotRSA)
	}
	return nil, fmt.Errorf("the private key cannot be read: %w", ErrUnknown)
}

func onlyRSA(key any) (*rsa.PrivateKey, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return k, nil
	case *ecdsa.PrivateKey:
		return nil, fmt.Errorf("an elliptic-curve key (%s): %w", k.Params().Name, ErrNotRSA)
	case ed25519.PrivateKey:
		return nil, fmt.Errorf("an Ed25519 key: %w", ErrNotRSA)
	default:
		return nil, fmt.Errorf("a key of type %T: %w", key, ErrNotRSA)
	}
}

// ownCertificate is the certificate of the key among certs, or nil.
func ownCertificate(key *rsa.PrivateKey, certs []*x509.Certificate) *x509.Certificate {
	for _, c := range certs {
		if c != nil && key.PublicKey.Equal(c.PublicKey) {
			return c
		}
	}
	return nil
}

// Package keyring holds the bridge's master key: 32 random bytes in a file of their own. Whatever
// secret the bridge keeps at rest (refresh tokens, private keys of certificates) is sealed with a
// key derived from it, and so is every other key that the bridge needs, one per purpose.
//
// What is guaranteed: a sealed value opens only under the master key and with the context that it was
// sealed for, unaltered to the last bit; keys of different purposes say nothing about one another.
// What is not: a sealed value that was replaced by an older one, sealed under the same context, opens.
package keyring

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// KeySize is the length of the master key, and of every derived key, in bytes.
const KeySize = 32

// The purposes that keys are derived for. A purpose is part of the derived key: changing one of these
// strings makes everything unreadable that the key was used for.
const (
	// PurposeWebhook derives the key that clientState is made and checked with.
	PurposeWebhook = "presence-bridge/webhook/client-state/v1"
	// PurposeSeal derives the key of [Keyring.Seal]. Nothing else uses it.
	PurposeSeal = "presence-bridge/keyring/seal/v1"
	// PurposeDataDir derives the value that a data directory remembers, by which it knows whether it
	// was written under this master key.
	PurposeDataDir = "presence-bridge/data-dir/v1"

	purposeKeyID = "presence-bridge/keyring/key-id/v1"
)

// The header of a sealed value: magic and version, then the id of the key, so that a ring can hold
// several keys once there is rotation. Nonce and ciphertext with its tag follow.
const (
	magic      = "PBS\x01"
	idSize     = 8
	headerSize = len(magic) + idSize
	nonceSize  = 12 // NIST SP 800-38D section 8.2.2: 96 random bits, up to 2^32 values per key
	tagSize    = 16
)

// Overhead is by how many bytes a sealed value is longer than its plaintext.
const Overhead = headerSize + nonceSize + tagSize

// Errors of [Keyring.Open]. None of them says anything about the plaintext.
var (
	// ErrFormat: this was never made by Seal, or was cut off.
	ErrFormat = errors.New("keyring: not a sealed value")
	// ErrOtherKey: it was sealed under another master key.
	ErrOtherKey = errors.New("keyring: sealed under another master key")
	// ErrAltered: it was altered, or sealed for another context.
	ErrAltered = errors.New("keyring: sealed value was altered or belongs to another context")
)

// Keyring derives keys from one master key and seals values under it. It is safe for concurrent use,
// and no format verb prints what is in it.
type Keyring struct {
	prk  []byte // HKDF-Extract of the master key (RFC 5869 section 2.2)
	id   [idSize]byte
	aead cipher.AEAD
}

// New makes a Keyring of a master key of [KeySize] bytes, which it does not keep. Use
// [OpenOrCreate] for one in a file.
func New(master []byte) (*Keyring, error) {
	if len(master) != KeySize {
		return nil, fmt.Errorf("keyring: master key has %d bytes, want %d", len(master), KeySize)
	}
	prk, err := hkdf.Extract(sha256.New, master, nil)
	if err != nil {
		return nil, fmt.Errorf("keyring: extract: %w", err)
	}
	k := &Keyring{prk: prk}
	id, err := hkdf.Expand(sha256.New, prk, purposeKeyID, idSize)
	if err != nil {
		return nil, fmt.Errorf("keyring: derive the key id: %w", err)
	}
	copy(k.id[:], id)
	block, err := aes.NewCipher(k.Derive(PurposeSeal))
	if err != nil {
		return nil, fmt.Errorf("keyring: cipher: %w", err)
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("keyring: cipher: %w", err)
	}
	return k, nil
}

// Derive returns the key of a purpose: [KeySize] bytes by HKDF-Expand with SHA-256 (RFC 5869 section
// 2.3), the purpose being its info. The same purpose always gives the same key.
func (k *Keyring) Derive(purpose string) []byte {
	key, err := hkdf.Expand(sha256.New, k.prk, purpose, KeySize)
	if err != nil {
		// Expand fails for lengths above 255 hashes and, in FIPS mode, for short secrets: this
		// length is fixed, and New has already expanded from this very secret.
		panic("keyring: unreachable: " + err.Error()) //nolint:forbidigo // a key that is no key must not be returned
	}
	return key
}

// ID names the master key in logs and errors, in 16 hex digits. It gives nothing of the key away.
func (k *Keyring) ID() string { return hex.EncodeToString(k.id[:]) }

// Format prints the id alone, whatever the verb.
func (k *Keyring) Format(s fmt.State, _ rune) {
	if k == nil {
		_, _ = io.WriteString(s, "keyring(nil)")
		return
	}
	_, _ = io.WriteString(s, "keyring("+k.ID()+")")
}

// MarshalText gives the id alone, so that no encoder finds more.
func (k *Keyring) MarshalText() ([]byte, error) { return []byte(k.ID()), nil }

// Seal encrypts plaintext with AES-256-GCM under a random nonce and binds it to context: what the
// value is and whose (for example "monitor/contoso/<id>/refresh-token"). The context is not in
// the result; [Keyring.Open] must be given the same. The result is [Overhead] bytes longer.
func (k *Keyring) Seal(plaintext, context []byte) ([]byte, error) {
	out := make([]byte, headerSize+nonceSize, len(plaintext)+Overhead)
	copy(out, magic)
	copy(out[len(magic):], k.id[:])
	nonce := out[headerSize:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("keyring: nonce: %w", err)
	}
	return k.aead.Seal(out, nonce, plaintext, bind(out[:headerSize], context)), nil
}

// Open returns what [Keyring.Seal] was given, if sealed was made under this master key for this
// context and nobody altered it; otherwise [ErrFormat], [ErrOtherKey] or [ErrAltered].
func (k *Keyring) Open(sealed, context []byte) ([]byte, error) {
	if len(sealed) < Overhead || string(sealed[:len(magic)]) != magic {
		return nil, ErrFormat
	}
	header, rest := sealed[:headerSize], sealed[headerSize:]
	if id := header[len(magic):]; !bytes.Equal(id, k.id[:]) {
		return nil, fmt.Errorf("%w: it names key %x, this is %s", ErrOtherKey, id, k.ID())
	}
	plaintext, err := k.aead.Open(nil, rest[:nonceSize], rest[nonceSize:], bind(header, context))
	if err != nil {
		return nil, ErrAltered
	}
	return plaintext, nil
}

// bind makes the additional data of header and context. The length in front keeps the two apart,
// whatever size a later version gives the header.
func bind(header, context []byte) []byte {
	aad := make([]byte, 0, 4+len(header)+len(context))
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(header)))
	aad = append(aad, header...)
	return append(aad, context...)
}

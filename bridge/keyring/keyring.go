// Package keyring holds the bridge's master key: 32 random bytes in a file of their own. Whatever
// secret the bridge keeps at rest (refresh tokens, private keys of certificates) is sealed with a
// key derived from it, and so is every other key that the bridge needs, one per purpose.
//
// What is guaranteed: a sealed value opens only under the master key and with the context that it was
// sealed for, unaltered to the last bit; keys of different purposes say nothing about one another.
// What is not: a sealed value that was replaced by an older one, sealed under the same context, opens.
//
// # Rotation
//
// A key file holds the newest key on its first line, which seals, and after it older keys, which only open
// what was sealed before. [AddKey] begins a rotation and [RetireKeys] ends it, once everything was sealed again.
// A running bridge notices a changed file by itself: before it seals, and when a value names a key that it does not
// have. What was derived from a retired key for clientStates stays in the file for [WebhookGrace], since Graph
// goes on repeating the clientState of a subscription that was made before.
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
	"sync/atomic"
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

// Keyring derives keys from the master key and seals values under it; what was sealed under an older key of the same
// file opens too. It is safe for concurrent use, and no format verb prints what is in it.
type Keyring struct {
	file string // it is read again when it changes; "" for a key from elsewhere
	ring atomic.Pointer[ring]
	// looked is when the file was last looked at for the sake of a stranger's clientState, in Unix nanoseconds.
	looked atomic.Int64
}

// ring is the content of a key file at one time. It is not changed.
type ring struct {
	keys    []*masterKey // newest first
	webhook []webhookKey // of keys that are retired
	stamp   stamp
}

// masterKey is one master key, ready for use.
type masterKey struct {
	prk  []byte // HKDF-Extract of the master key (RFC 5869 section 2.2)
	id   [idSize]byte
	aead cipher.AEAD
}

// New makes a Keyring of a master key of [KeySize] bytes, which it does not keep. Use
// [OpenOrCreate] for one in a file.
func New(master []byte) (*Keyring, error) {
	key, err := newMasterKey(master)
	if err != nil {
		return nil, err
	}
	k := &Keyring{}
	k.ring.Store(&ring{keys: []*masterKey{key}})
	return k, nil
}

func newMasterKey(master []byte) (*masterKey, error) {
	if len(master) != KeySize {
		return nil, fmt.Errorf("keyring: master key has %d bytes, want %d", len(master), KeySize)
	}
	prk, err := hkdf.Extract(sha256.New, master, nil)
	if err != nil {
		return nil, fmt.Errorf("keyring: extract: %w", err)
	}
	k := &masterKey{prk: prk}
	id, err := hkdf.Expand(sha256.New, prk, purposeKeyID, idSize)
	if err != nil {
		return nil, fmt.Errorf("keyring: derive the key id: %w", err)
	}
	copy(k.id[:], id)
	block, err := aes.NewCipher(k.derive(PurposeSeal))
	if err != nil {
		return nil, fmt.Errorf("keyring: cipher: %w", err)
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("keyring: cipher: %w", err)
	}
	return k, nil
}

// newest is the key that seals.
func (r *ring) newest() *masterKey { return r.keys[0] }

// Derive returns the newest key's key of a purpose: [KeySize] bytes by HKDF-Expand with SHA-256 (RFC 5869 section
// 2.3), the purpose being its info. The same purpose always gives the same key.
func (k *Keyring) Derive(purpose string) []byte { return k.ring.Load().newest().derive(purpose) }

func (k *masterKey) derive(purpose string) []byte {
	key, err := hkdf.Expand(sha256.New, k.prk, purpose, KeySize)
	if err != nil {
		// Expand fails for lengths above 255 hashes and, in FIPS mode, for short secrets: this
		// length is fixed, and New has already expanded from this very secret.
		panic("keyring: unreachable: " + err.Error()) //nolint:forbidigo // a key that is no key must not be returned
	}
	return key
}

// ID names the newest master key in logs and errors, in 16 hex digits. It gives nothing of the key away.
func (k *Keyring) ID() string { return k.ring.Load().newest().String() }

// IDs names all keys that open, the newest first.
func (k *Keyring) IDs() []string {
	var ids []string
	for _, key := range k.ring.Load().keys {
		ids = append(ids, key.String())
	}
	return ids
}

// String is the key's id.
func (k *masterKey) String() string { return hex.EncodeToString(k.id[:]) }

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
	k.refresh()
	key := k.ring.Load().newest()
	out := make([]byte, headerSize+nonceSize, len(plaintext)+Overhead)
	copy(out, magic)
	copy(out[len(magic):], key.id[:])
	nonce := out[headerSize:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("keyring: nonce: %w", err)
	}
	return key.aead.Seal(out, nonce, plaintext, bind(out[:headerSize], context)), nil
}

// Open returns what [Keyring.Seal] was given, if sealed was made under one of the keys for this
// context and nobody altered it; otherwise [ErrFormat], [ErrOtherKey] or [ErrAltered].
func (k *Keyring) Open(sealed, context []byte) ([]byte, error) {
	if len(sealed) < Overhead || string(sealed[:len(magic)]) != magic {
		return nil, ErrFormat
	}
	header, rest := sealed[:headerSize], sealed[headerSize:]
	id := header[len(magic):]
	key := k.ring.Load().find(id)
	if key == nil {
		k.refresh() // another process may have begun a rotation
		key = k.ring.Load().find(id)
	}
	if key == nil {
		return nil, fmt.Errorf("%w: it names key %x, this is %s", ErrOtherKey, id, k.ID())
	}
	plaintext, err := key.aead.Open(nil, rest[:nonceSize], rest[nonceSize:], bind(header, context))
	if err != nil {
		return nil, ErrAltered
	}
	return plaintext, nil
}

// find is the key of an id, nil if there is none.
func (r *ring) find(id []byte) *masterKey {
	for _, key := range r.keys {
		if bytes.Equal(id, key.id[:]) {
			return key
		}
	}
	return nil
}

// Newest tells whether a sealed value was sealed under the newest key.
func (k *Keyring) Newest(sealed []byte) bool {
	return len(sealed) >= headerSize && bytes.Equal(sealed[len(magic):headerSize], k.ring.Load().newest().id[:])
}

// bind makes the additional data of header and context. The length in front keeps the two apart,
// whatever size a later version gives the header.
func bind(header, context []byte) []byte {
	aad := make([]byte, 0, 4+len(header)+len(context))
	aad = binary.BigEndian.AppendUint32(aad, uint32(len(header)))
	aad = append(aad, header...)
	return append(aad, context...)
}

package notify

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // Graph wraps keys with RSA-OAEP over SHA-1, nothing else.
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// keySize is the length of an item's symmetric key in bytes. The same key serves the HMAC and AES-256.
const keySize = 32

// content is encryptedContent out of base64.
type content struct {
	data, signature, key []byte
}

// decode takes encryptedContent out of base64. Strict: no two spellings mean the same bytes.
func (c *rawContent) decode() (content, *Error) {
	var out content
	for _, f := range []struct {
		name string
		from string
		to   *[]byte
	}{
		{"encryptedContent.data", c.data, &out.data},
		{"encryptedContent.dataSignature", c.signature, &out.signature},
		{"encryptedContent.dataKey", c.key, &out.key},
	} {
		if f.from == "" {
			return content{}, fail(ReasonContentIncomplete, f.name, errors.New("missing"))
		}
		b, err := base64.StdEncoding.Strict().DecodeString(f.from)
		if err != nil {
			return content{}, fail(ReasonContentIncomplete, f.name, err) // the position, no content
		}
		*f.to = b
	}
	return out, nil
}

// unwrap decrypts the item's symmetric key: RSA-OAEP, SHA-1 as digest and in MGF1, empty label
// (learn:change-notifications-with-resource-data, "Decrypting resource data").
func (c *content) unwrap(private *rsa.PrivateKey) ([]byte, *Error) {
	if len(c.key) != private.Size() {
		return nil, fail(ReasonDataKey, "encryptedContent.dataKey",
			fmt.Errorf("of %d bytes, the certificate's key makes %d", len(c.key), private.Size()))
	}
	key, err := rsa.DecryptOAEP(sha1.New(), nil, private, c.key, nil) //nolint:gosec // see the import
	if err != nil {
		return nil, fail(ReasonDataKey, "encryptedContent.dataKey", err)
	}
	if len(key) != keySize {
		return nil, fail(ReasonDataKey, "encryptedContent.dataKey", fmt.Errorf("holds %d bytes instead of %d", len(key), keySize))
	}
	return key, nil
}

// verify compares dataSignature with the HMAC-SHA256 of the ciphertext, in constant time. Nothing may
// be decrypted before (same page, "Decrypting resource data", step 3).
func (c *content) verify(key []byte) *Error {
	mac := hmac.New(sha256.New, key)
	mac.Write(c.data)
	if !hmac.Equal(mac.Sum(nil), c.signature) {
		return fail(ReasonSignature, "encryptedContent.dataSignature", nil)
	}
	return nil
}

// decrypt is AES-256-CBC with PKCS #7 padding; the IV is the first 16 bytes of the key. It overwrites
// c.data. Call it after verify only.
func (c *content) decrypt(key []byte) ([]byte, *Error) {
	const field = "encryptedContent.data"
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fail(ReasonDecrypt, field, err)
	}
	if len(c.data) == 0 || len(c.data)%aes.BlockSize != 0 {
		return nil, fail(ReasonDecrypt, field, fmt.Errorf("%d bytes are no whole blocks", len(c.data)))
	}
	cipher.NewCBCDecrypter(block, key[:aes.BlockSize]).CryptBlocks(c.data, c.data)
	plain, ok := unpad(c.data)
	if !ok {
		return nil, fail(ReasonDecrypt, field, errors.New("bad padding"))
	}
	return plain, nil
}

// unpad removes PKCS #7 padding (RFC 5652 section 6.3) and checks every byte of it.
func unpad(b []byte) ([]byte, bool) {
	n := int(b[len(b)-1])
	if n == 0 || n > aes.BlockSize || n > len(b) {
		return nil, false
	}
	pad := b[len(b)-n:]
	if bytes.Count(pad, []byte{byte(n)}) != n {
		return nil, false
	}
	return b[:len(b)-n], true
}

// opened is how far a content could be opened.
type opened struct {
	decoded   bool // the base64
	unwrapped bool // the key
	signed    bool // the HMAC matches
	decrypted bool
	plain     []byte
}

// open takes content through all steps, in the only order that is safe.
func (c *rawContent) open(private *rsa.PrivateKey) (opened, *Error) {
	var o opened
	in, err := c.decode()
	if err != nil {
		return o, err
	}
	o.decoded = true
	key, err := in.unwrap(private)
	if err != nil {
		return o, err
	}
	o.unwrapped = true
	if err := in.verify(key); err != nil {
		return o, err
	}
	o.signed = true
	o.plain, err = in.decrypt(key)
	o.decrypted = err == nil
	return o, err
}

// plainPresence is the decrypted resource. More members than these are not documented.
type plainPresence struct {
	ID           string
	ODataID      string
	ODataType    string
	Availability string
	Activity     string
	Sequence     string
	bom          bool
}

// parsePlain reads what was decrypted, with the same tolerance as the envelope, but no repairs.
func parsePlain(plain []byte) (plainPresence, *Error) {
	var p plainPresence
	if rest, ok := bytes.CutPrefix(plain, []byte("\xef\xbb\xbf")); ok {
		plain, p.bom = rest, true
	}
	var seen uint
	var it rawItem
	err := walkValue(plain, func(w *walker) error {
		if k := w.dec.PeekKind(); k != '{' {
			it.spoil(wrongType("", k))
			return w.dec.SkipValue()
		}
		return w.object(func(name string) error {
			switch name {
			case "id":
				return w.str(&it, &seen, 1, name, &p.ID)
			case "@odata.id":
				return w.str(&it, &seen, 2, name, &p.ODataID)
			case "@odata.type":
				return w.str(&it, &seen, 4, name, &p.ODataType)
			case "availability":
				return w.str(&it, &seen, 8, name, &p.Availability)
			case "activity":
				return w.str(&it, &seen, 16, name, &p.Activity)
			case "sequenceNumber":
				return w.str(&it, &seen, 32, name, &p.Sequence)
			default:
				return w.dec.SkipValue()
			}
		})
	})
	switch {
	case err != nil:
		// The cause may quote a byte of the plaintext at most, but not even that is needed.
		return p, fail(ReasonPlaintext, "", syntaxPosition(err))
	case it.err != nil:
		return p, fail(ReasonPlaintext, it.err.Field, it.err.Err)
	}
	return p, nil
}

// syntaxPosition keeps of a syntax error only where it was.
func syntaxPosition(err error) error {
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON at byte %d", syntax.ByteOffset)
	}
	return errors.New("not JSON")
}

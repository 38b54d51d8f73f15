package keyring

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// makeByHand is the remedy for every file that cannot be used as a key.
const makeByHand = "make one with: (umask 077; head -c 32 /dev/urandom | base64 > FILE)"

// maxKeyFile is more than any key file has: base64 of 32 bytes is 44, and a file in rotation has a few lines.
const maxKeyFile = 4096

// A FileError says what is wrong with a key file and what to do about it.
type FileError struct {
	File    string
	Problem string
	Remedy  string
	Err     error // the system's error, if there was one
}

func (e *FileError) Error() string {
	msg := "key file " + e.File + ": " + e.Problem
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg + " (" + strings.ReplaceAll(e.Remedy, "FILE", e.File) + ")"
}

func (e *FileError) Unwrap() error { return e.Err }

// OpenOrCreate reads the master key, and older ones, from file. When the file does not exist and create is set, a
// new key is made and is on the disk, whole, before OpenOrCreate returns; of two processes that do so
// at once both get the same key. Every other trouble with the file is a [*FileError]: an
// existing file is never replaced, because what was sealed under it would be lost.
//
// The Keyring reads the file again when it has changed. A file that can no longer be used leaves it with the keys it has.
func OpenOrCreate(file string, create bool) (*Keyring, error) {
	r, err := readRing(file)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err := createKey(file); err != nil {
			return nil, err
		}
		r, err = readRing(file)
	}
	if err != nil {
		return nil, err
	}
	k := &Keyring{file: file}
	k.ring.Store(r)
	return k, nil
}

// ReadKey reads a key of [KeySize] bytes, as base64 text, from a file that nobody but its owner may
// read: the newest one, if there are several. It serves the master key and webhook_key_file alike. Errors are [*FileError]s.
func ReadKey(file string) ([]byte, error) {
	c, _, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return c.keys[0], nil
}

// readFile reads a key file, and says which one it was.
func readFile(file string) (content, stamp, error) {
	// Without O_NONBLOCK a named pipe would hold the start up for ever.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return content{}, stamp{}, openError(file, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return content{}, stamp{}, openError(file, err)
	}
	if err := checkMode(file, info, os.Geteuid()); err != nil {
		return content{}, stamp{}, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return content{}, stamp{}, openError(file, err)
	}
	c, err := parseFile(file, text)
	return c, stampOf(info), err
}

func openError(file string, err error) error {
	remedy := "make it readable for the user that the bridge runs as"
	if errors.Is(err, fs.ErrNotExist) {
		remedy = makeByHand
	}
	return &FileError{File: file, Problem: "cannot be read", Remedy: remedy, Err: err}
}

// checkMode refuses a key that others than its owner can read. The one exception is a file of
// root that a group of ours may read, while we are not root: Kubernetes mounts secrets for an
// unprivileged process so (fsGroup), and leaves no other way.
func checkMode(file string, info fs.FileInfo, euid int) error {
	if !info.Mode().IsRegular() {
		return &FileError{File: file, Problem: "is not a regular file", Remedy: makeByHand}
	}
	forbidden := fs.FileMode(0o077)
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 && euid != 0 {
		forbidden &^= 0o040
	}
	if perm := info.Mode().Perm(); perm&forbidden != 0 {
		return &FileError{File: file, Problem: fmt.Sprintf("has mode %04o, so that others can get at the key", perm),
			Remedy: "chmod 600 FILE, and consider whether the key is still secret"}
	}
	return nil
}

// content is what a key file says.
type content struct {
	keys    [][]byte // newest first
	webhook []webhookKey
}

// webhookKey is the key of clientStates that a retired master key gave, and until when it is accepted.
type webhookKey struct {
	key   []byte
	until time.Time
}

// webhookWord begins the line of a [webhookKey].
const webhookWord = "webhook"

// parseFile reads the text of a key file: a key on each line, in standard or URL-safe base64, padded or not, with any
// white space around it; empty lines and those that begin with # say nothing. The contents never appear in an error.
func parseFile(file string, text []byte) (content, error) {
	bad := func(problem string) error {
		return &FileError{File: file, Problem: problem,
			Remedy: "restore it from a backup; if nothing was ever sealed with it, " + makeByHand}
	}
	if len(text) > maxKeyFile {
		return content{}, bad(fmt.Sprintf("is longer than %d bytes, want base64 of %d bytes", maxKeyFile, KeySize))
	}
	var c content
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if fields[0] == webhookWord {
			w, problem := parseWebhook(fields)
			if problem != "" {
				return content{}, bad(problem)
			}
			c.webhook = append(c.webhook, w)
			continue
		}
		key, problem := parseKey(strings.TrimSpace(line))
		if problem != "" {
			return content{}, bad(problem)
		}
		if key != nil {
			c.keys = append(c.keys, key)
		}
	}
	if len(c.keys) == 0 {
		return content{}, bad("is empty")
	}
	return c, nil
}

// parseKey reads one key, or says what is wrong with it; nil for nothing but padding.
func parseKey(text string) (key []byte, problem string) {
	s := strings.TrimRight(text, "=")
	if s == "" {
		return nil, ""
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	key, err := enc.DecodeString(s)
	if err != nil {
		return nil, "is not base64 text"
	}
	if len(key) != KeySize {
		return nil, fmt.Sprintf("holds %d bytes, want %d", len(key), KeySize)
	}
	return key, ""
}

func parseWebhook(fields []string) (w webhookKey, problem string) {
	if len(fields) != 3 {
		return w, "has a line webhook without key and time"
	}
	if w.key, problem = parseKey(fields[1]); problem != "" || w.key == nil {
		return w, "has a line webhook without a key"
	}
	var err error
	if w.until, err = time.Parse(time.RFC3339, fields[2]); err != nil {
		return w, "has a line webhook without a time"
	}
	return w, ""
}

// text is the content as it stands in the file.
func (c content) text() string {
	var b strings.Builder
	for _, key := range c.keys {
		b.WriteString(encode(key) + "\n")
	}
	for _, w := range c.webhook {
		b.WriteString(webhookWord + " " + encode(w.key) + " " + w.until.UTC().Format(time.RFC3339) + "\n")
	}
	return b.String()
}

// createKey writes a new random key beside file and links it into place, which fails when the file
// has appeared meanwhile: then that one counts. Both the file and its folder are synced, so
// that nothing is sealed with a key that a power failure takes away.
func createKey(file string) (err error) {
	fail := func(what string, err error) error {
		return &FileError{File: file, Problem: "cannot be created: " + what,
			Remedy: "make its folder exist and writable for the bridge, or " + makeByHand, Err: err}
	}
	var key [KeySize]byte
	if _, err := rand.Read(key[:]); err != nil {
		return fail("no randomness", err)
	}
	dir := filepath.Dir(file)
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return fail("temporary file", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fail("write", err)
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail("link into place", err)
	}
	if err := syncDir(dir); err != nil {
		return fail("sync of the folder", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

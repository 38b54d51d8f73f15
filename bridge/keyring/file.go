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
)

// makeByHand is the remedy for every file that cannot be used as a key.
const makeByHand = "make one with: (umask 077; head -c 32 /dev/urandom | base64 > FILE)"

// maxKeyFile is more than any key file has: base64 of 32 bytes is 44, and people add line ends.
const maxKeyFile = 256

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

// OpenOrCreate reads the master key from file. When the file does not exist and create is set, a
// new key is made and is on the disk, whole, before OpenOrCreate returns; of two processes that do so
// at once both get the same key. Every other trouble with the file is a [*FileError]: an
// existing file is never replaced, because what was sealed under it would be lost.
func OpenOrCreate(file string, create bool) (*Keyring, error) {
	key, err := ReadKey(file)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err := createKey(file); err != nil {
			return nil, err
		}
		key, err = ReadKey(file)
	}
	if err != nil {
		return nil, err
	}
	return New(key)
}

// ReadKey reads a key of [KeySize] bytes, as base64 text, from a file that nobody but its owner may
// read. It serves the master key and webhook_key_file alike. Errors are [*FileError]s.
func ReadKey(file string) ([]byte, error) {
	// Without O_NONBLOCK a named pipe would hold the start up for ever.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(file, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, openError(file, err)
	}
	if err := checkMode(file, info, os.Geteuid()); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, openError(file, err)
	}
	return parseKey(file, text)
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

// parseKey reads the text of a key file: standard or URL-safe base64, padded or not, with any white
// space around it. The contents never appear in an error.
func parseKey(file string, text []byte) ([]byte, error) {
	bad := func(problem string) error {
		return &FileError{File: file, Problem: problem,
			Remedy: "restore it from a backup; if nothing was ever sealed with it, " + makeByHand}
	}
	if len(text) > maxKeyFile {
		return nil, bad(fmt.Sprintf("is longer than %d bytes, want base64 of %d bytes", maxKeyFile, KeySize))
	}
	s := strings.TrimRight(strings.TrimSpace(string(text)), "=")
	if s == "" {
		return nil, bad("is empty")
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	key, err := enc.DecodeString(s)
	if err != nil {
		return nil, bad("is not base64 text")
	}
	if len(key) != KeySize {
		return nil, bad(fmt.Sprintf("holds %d bytes, want %d", len(key), KeySize))
	}
	return key, nil
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

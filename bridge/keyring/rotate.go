package keyring

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// WebhookGrace is how long the clientStates of a retired key are accepted. Running bridges make their subscriptions
// anew within an hour or so of a rotation, one that is not renewed ends after 60 min, Graph repeats a notification
// for 4 h (learn:change-notifications-delivery-webhooks), and the state of a sign-in by a copied link, which
// the same key makes, is good for 24 h.
const WebhookGrace = 26 * time.Hour

// Rotation says how a key file stands after [AddKey] or [RetireKeys].
type Rotation struct {
	Newest string   // id of the key that seals
	Older  []string // ids of those that only open
	// Begun: AddKey found a rotation under way, and added nothing.
	Begun bool
}

// AddKey puts a new key in front of those in the file. If there are several keys already, a rotation is under way, was
// perhaps cut off, and has to be finished first: nothing is added then. The file is replaced in one step, so that
// after a crash it is either the old or the new one.
func AddKey(file string) (Rotation, error) {
	e := editor{file: file}
	return e.edit(func(c *content) (bool, error) {
		if len(c.keys) > 1 {
			return false, nil
		}
		key := make([]byte, KeySize)
		if _, err := rand.Read(key); err != nil {
			return false, err
		}
		c.keys = append([][]byte{key}, c.keys...)
		return true, nil
	})
}

// RetireKeys takes all keys but the newest out of the file: nothing may be sealed under them any more. What clientStates were
// made with stays for [WebhookGrace].
func RetireKeys(file string) (Rotation, error) {
	e := editor{file: file}
	return e.edit(retire)
}

func retire(c *content) (bool, error) {
	now := time.Now()
	var keep []webhookKey
	for _, w := range c.webhook {
		if now.Before(w.until) {
			keep = append(keep, w)
		}
	}
	for _, master := range c.keys[1:] {
		key, err := newMasterKey(master)
		if err != nil {
			return false, err
		}
		keep = append(keep, webhookKey{key: key.derive(PurposeWebhook), until: now.Add(WebhookGrace)})
	}
	changed := len(c.keys) > 1 || len(keep) != len(c.webhook)
	c.keys, c.webhook = c.keys[:1], keep
	return changed, nil
}

// editor changes a key file.
type editor struct {
	file string
	// step is called before each operation on the disk, in tests: an error is a crash at that point.
	step func(name string) error
}

func (e *editor) at(name string) error {
	if e.step == nil {
		return nil
	}
	return e.step(name)
}

// edit reads the file, has it changed and replaces it. Only one process at a time does so.
func (e *editor) edit(change func(*content) (bool, error)) (Rotation, error) {
	// What a link points to is replaced, not the link.
	target, err := filepath.EvalSymlinks(e.file)
	if err != nil {
		return Rotation{}, openError(e.file, err)
	}
	dir, err := os.Open(filepath.Dir(target))
	if err != nil {
		return Rotation{}, e.failed("open its folder", err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return Rotation{}, e.failed("lock its folder", err)
	}
	c, _, err := readFile(target)
	if err != nil {
		return Rotation{}, err
	}
	changed, err := change(&c)
	if err != nil {
		return Rotation{}, e.failed("make a key", err)
	}
	if changed {
		if err := e.replace(target, dir, c); err != nil {
			return Rotation{}, err
		}
	}
	r := Rotation{Begun: !changed}
	for i, master := range c.keys {
		key, err := newMasterKey(master)
		if err != nil {
			return Rotation{}, err
		}
		if i == 0 {
			r.Newest = key.String()
		} else {
			r.Older = append(r.Older, key.String())
		}
	}
	return r, nil
}

// replace writes the new content beside the file and renames it into place. Owner and mode stay.
func (e *editor) replace(target string, dir *os.File, c content) error {
	info, err := os.Stat(target)
	if err != nil {
		return openError(e.file, err)
	}
	beside := filepath.Join(filepath.Dir(target), "."+filepath.Base(target)+".new")
	done := false
	defer func() {
		if !done && e.step == nil {
			_ = os.Remove(beside) // it may not be there
		}
	}()
	if err := errors.Join(e.at("write"), e.write(beside, info, c)); err != nil {
		return e.failed("write a new one beside it", err)
	}
	if err := e.at("rename"); err != nil {
		return err
	}
	if err := os.Rename(beside, target); err != nil {
		return e.failed("replace it", err)
	}
	done = true
	if err := e.at("sync"); err != nil {
		return err
	}
	if err := dir.Sync(); err != nil {
		return e.failed("sync its folder", err)
	}
	return nil
}

func (e *editor) write(name string, like fs.FileInfo, c content) (err error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // left over from a crash
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if st, ok := like.Sys().(*syscall.Stat_t); ok && (int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid()) {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("keep its owner: %w", err)
		}
	}
	if err := f.Chmod(like.Mode().Perm()); err != nil {
		return err
	}
	text := c.text()
	if err := e.at("half"); err != nil {
		_, _ = f.WriteString(text[:len(text)/2]) // as a crash would
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

// failed says that the file cannot be changed, and how it is done by hand.
func (e *editor) failed(what string, err error) error {
	return &FileError{File: e.file, Problem: "cannot be changed: " + what, Err: err,
		Remedy: "run this as the owner of FILE, or as root, where it can be written; or put a new key on a line of its own in front " +
			"of the present one (head -c 32 /dev/urandom | base64) and run this again with --keep-file"}
}

// Standing says how a key file stands.
func Standing(file string) (Rotation, error) {
	r, err := readRing(file)
	if err != nil {
		return Rotation{}, err
	}
	out := Rotation{Newest: r.newest().String()}
	for _, key := range r.keys[1:] {
		out.Older = append(out.Older, key.String())
	}
	out.Begun = len(out.Older) > 0
	return out, nil
}

// encode is a key as it stands in a file.
func encode(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

package keyring

import (
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// stamp tells one version of a file from another. A rotation replaces the file, so that at least the inode differs.
type stamp struct {
	inode    uint64
	size     int64
	modified time.Time
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino
	}
	return s
}

func readRing(file string) (*ring, error) {
	c, s, err := readFile(file)
	if err != nil {
		return nil, err
	}
	r := &ring{webhook: c.webhook, stamp: s}
	for _, master := range c.keys {
		key, err := newMasterKey(master)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, key)
	}
	return r, nil
}

// refresh reads the file again if it has changed. A file that is away or cannot be used changes nothing. Keys that are no
// longer in the file go on opening, until the process ends: what this process sealed a moment before the file
// changed must not be lost to it.
func (k *Keyring) refresh() {
	if k.file == "" {
		return
	}
	before := k.ring.Load()
	info, err := os.Stat(k.file)
	if err != nil || stampOf(info) == before.stamp {
		return
	}
	now, err := readRing(k.file)
	if err != nil {
		return
	}
	for _, old := range before.keys {
		if now.find(old.id[:]) == nil {
			now.keys = append(now.keys, old)
		}
	}
	k.ring.CompareAndSwap(before, now)
}

// Reload reads the file again if it has changed, and says what is wrong with it.
func (k *Keyring) Reload() error {
	if k.file == "" {
		return nil
	}
	if _, _, err := readFile(k.file); err != nil {
		return err
	}
	k.refresh()
	return nil
}

// lookEvery bounds how often strangers can make the file be looked at.
const lookEvery = time.Second

// WebhookKeys are the keys of clientStates that are accepted: the newest master key's, which makes them, then the older
// ones', then those that retired keys gave. The file is looked at, at most once a second.
func (k *Keyring) WebhookKeys() [][]byte {
	k.look()
	r, now := k.ring.Load(), time.Now()
	var out [][]byte
	for _, key := range r.keys {
		out = append(out, key.derive(PurposeWebhook))
	}
	for _, w := range r.webhook {
		if now.Before(w.until) {
			out = append(out, w.key)
		}
	}
	return out
}

func (k *Keyring) look() {
	now := time.Now().UnixNano()
	if last := k.looked.Load(); now-last >= int64(lookEvery) && k.looked.CompareAndSwap(last, now) {
		k.refresh()
	}
}

// Keys are the keys of a file that are used as they are, such as webhook_key_file: the newest first. The file is read
// again when it has changed.
type Keys struct {
	file   string
	list   atomic.Pointer[keyList]
	looked atomic.Int64
}

type keyList struct {
	keys  [][]byte
	stamp stamp
}

// OpenKeys reads such a file. Errors are [*FileError]s.
func OpenKeys(file string) (*Keys, error) {
	c, s, err := readFile(file)
	if err != nil {
		return nil, err
	}
	k := &Keys{file: file}
	k.list.Store(&keyList{keys: c.keys, stamp: s})
	return k, nil
}

// All are the keys, the newest first. The file is looked at, at most once a second.
func (k *Keys) All() [][]byte {
	now := time.Now().UnixNano()
	if last := k.looked.Load(); now-last >= int64(lookEvery) && k.looked.CompareAndSwap(last, now) {
		before := k.list.Load()
		if info, err := os.Stat(k.file); err == nil && stampOf(info) != before.stamp {
			if c, s, err := readFile(k.file); err == nil {
				k.list.Store(&keyList{keys: c.keys, stamp: s})
			}
		}
	}
	return k.list.Load().keys
}

// Format prints nothing of the keys, whatever the verb.
func (k *Keys) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte("keys")) }

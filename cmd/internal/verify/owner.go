package verify

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tryWriting tells why this user cannot work in a folder; nil if it can. It writes nothing. A data directory that
// belongs to somebody else is a problem even to root: files that root makes there, the bridge cannot read.
func tryWriting(dir string, isDataDir bool) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("this user may not write to %s", dir)
	}
	if !isDataDir {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, known := info.Sys().(*syscall.Stat_t); known && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user id %d, verify runs as %d", dir, st.Uid, os.Geteuid())
	}
	return nil
}

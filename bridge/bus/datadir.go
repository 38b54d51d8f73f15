package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

const (
	lockName  = "presence-bridge.lock"
	cleanName = "clean-stop"
	storeName = "nats"
)

// dataDir is the locked folder of the embedded server.
type dataDir struct {
	path  string
	lock  *flock.Flock
	clean *cleanStop // how the process before stopped; nil if not cleanly
}

// cleanStop is what a clean stop leaves behind for the next start.
type cleanStop struct {
	At     time.Time            `json:"at"`
	ReadTo map[string]time.Time `json:"read_to"` // as Bus.readTo
}

// openDataDir makes and locks the folder, and takes the marker of a clean stop away. Two servers on
// one folder lose messages without an error, so the second is refused.
func openDataDir(path string) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	d := &dataDir{path: path, lock: flock.New(filepath.Join(path, lockName))}
	locked, err := d.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("data_dir: locking %s: %w", path, err)
	}
	if !locked {
		return nil, fmt.Errorf("data_dir: %w: another process works on %s; stop it, give this one a data_dir of its own, or let both use one nats.url",
			ErrLocked, path)
	}
	if d.clean, err = takeMarker(path); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// takeMarker reads the marker of a clean stop and removes it, durably, before anything is written.
func takeMarker(path string) (*cleanStop, error) {
	file := filepath.Join(path, cleanName)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	if err := os.Remove(file); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	if err := syncDir(path); err != nil {
		return nil, err
	}
	stop := new(cleanStop)
	if json.Unmarshal(data, stop) != nil {
		return nil, nil // a marker that cannot be read vouches for nothing
	}
	return stop, nil
}

// release gives the lock back; a clean stop (not nil) leaves its marker first.
func (d *dataDir) release(stop *cleanStop) error {
	var err error
	if stop != nil {
		err = d.mark(stop)
	}
	return errors.Join(err, d.lock.Close())
}

func (d *dataDir) mark(stop *cleanStop) error {
	data, err := json.Marshal(stop)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(d.path, cleanName), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	return syncDir(d.path)
}

// syncDir makes the entries of a folder durable.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	return nil
}

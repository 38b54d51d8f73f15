package bus

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go/jetstream"
)

// Inspection is what an external server says about itself and about the bridge's streams.
type Inspection struct {
	Version string // of the server
	Cluster string // its cluster's name; "" for a single server
	Usable  bool   // it is recent enough ([Open] refuses others)
	Streams []StreamInspection
	Missing []string // streams that do not exist: they are made by the first start
}

// StreamInspection is one stream or bucket.
type StreamInspection struct {
	Name     string
	Replicas int    // copies that it is configured to have
	Current  int    // copies that are there and up to date
	Bytes    uint64 // stored
}

// WantReplicas is how many copies streams and buckets have in a cluster.
const WantReplicas = wantReplicas

// Inspect asks the external server of cfg, changes nothing there and keeps no connection.
func Inspect(ctx context.Context, cfg Config) (Inspection, error) {
	if cfg.URL == "" {
		return Inspection{}, errors.New("bus: inspect: there is no nats.url; the embedded server belongs to the process that runs it")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Inspection{}, err
	}
	b := &Bus{cfg: cfg}
	if err := b.connect(); err != nil {
		return Inspection{}, err
	}
	defer b.nc.Close()
	defer b.closed.Store(true)
	account, err := b.js.AccountInfo(ctx)
	if err != nil {
		return Inspection{}, fmt.Errorf("bus: asking for JetStream: %w", fromNATS(err))
	}
	out := Inspection{
		Version: b.nc.ConnectedServerVersion(), Cluster: b.nc.ConnectedClusterName(), Usable: account.API.Level >= minAPILevel,
	}
	for _, want := range streamConfigs(cfg) {
		stream, err := b.js.Stream(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			out.Missing = append(out.Missing, want.Name)
		case err != nil:
			return Inspection{}, fmt.Errorf("bus: stream %s: %w", want.Name, fromNATS(err))
		default:
			out.Streams = append(out.Streams, inspectStream(stream.CachedInfo()))
		}
	}
	return out, nil
}

func inspectStream(info *jetstream.StreamInfo) StreamInspection {
	s := StreamInspection{Name: info.Config.Name, Replicas: info.Config.Replicas, Bytes: info.State.Bytes, Current: 1}
	if info.Cluster == nil {
		return s
	}
	if info.Cluster.Leader == "" {
		s.Current = 0
	}
	for _, peer := range info.Cluster.Replicas {
		if peer.Current && !peer.Offline {
			s.Current++
		}
	}
	return s
}

// InUse tells whether a process works on the data directory at this moment. It makes nothing, and a
// directory that does not exist is not in use.
func InUse(dataDir string) (bool, error) {
	file := filepath.Join(dataDir, lockName)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("data_dir: %w", err)
	}
	// A shared lock, held for a moment: those who only ask do not see each other.
	lock := flock.New(file, flock.SetFlag(os.O_RDONLY))
	free, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("data_dir: locking %s: %w", dataDir, err)
	}
	if !free {
		return true, nil
	}
	return false, lock.Close()
}

// FreeSpace is how many bytes an ordinary user may still write to the disk of a folder.
func FreeSpace(dir string) (int64, error) { return statfs(dir) }

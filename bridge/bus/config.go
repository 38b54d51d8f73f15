package bus

import (
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Config says where the bus is and how much it may hold.
type Config struct {
	// URL of an external NATS server or cluster (nats.url), several separated by commas. Empty:
	// a server is started inside the process, under DataDir, and nothing listens.
	URL string
	// CredentialsFile holds the NATS credentials (JWT and seed) for URL. Optional.
	CredentialsFile string
	// CAFile holds the PEM certificates that URL's server certificate is checked against.
	// Empty: the system's.
	CAFile string
	// Sync says when the embedded server flushes to disk. The zero value is [SyncAlways].
	Sync Sync
	// MaxStore bounds the streams and buckets together, in bytes. 0: 8 GiB.
	MaxStore int64
	// MinFree is the floor of free disk space under DataDir, in bytes: below it nothing new is
	// accepted. 0: 1 GiB. Negative: no floor. It has no meaning with URL.
	MinFree int64
	// DataDir is the folder of the embedded server; it is made if absent, and locked.
	DataDir string
	// History is how long observations and decisions are kept. 0: not at all.
	History time.Duration
	// PublishTimeout is how long one store may take before it counts as unanswered. 0: 2 s.
	PublishTimeout time.Duration
	// FreeSpace measures the free bytes of the disk that holds dir. Nil: statfs(2).
	FreeSpace func(dir string) (int64, error)
	// Log receives what happens. Nil: nothing is logged.
	Log *slog.Logger
	// Metrics is where the metrics are registered. Nil: nowhere.
	Metrics prometheus.Registerer
}

// Sync is how often the embedded server flushes what it stored to the disk.
type Sync time.Duration

// SyncAlways flushes before every acknowledgement: what was acknowledged survives a power cut.
// With an interval it survives the death of the process, but a power cut costs up to the interval.
const SyncAlways Sync = 0

// ParseSync reads nats.sync: "always" (also what the empty string means) or a duration.
func ParseSync(s string) (Sync, error) {
	if s == "" || s == "always" {
		return SyncAlways, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("nats.sync: %q is neither always nor a positive duration such as 10s", s)
	}
	return Sync(d), nil
}

// String is "always" or the interval.
func (s Sync) String() string {
	if s == SyncAlways {
		return "always"
	}
	return time.Duration(s).String()
}

const (
	defaultMaxStore       = 8 << 30
	defaultMinFree        = 1 << 30
	defaultPublishTimeout = 2 * time.Second
	// minMaxStore is the least that leaves every stream room for one message of the largest size.
	minMaxStore = 64 << 20
)

// withDefaults fills in what was left open, and refuses what cannot be.
func (c Config) withDefaults() (Config, error) {
	if c.MaxStore == 0 {
		c.MaxStore = defaultMaxStore
	}
	if c.MinFree == 0 {
		c.MinFree = defaultMinFree
	}
	if c.PublishTimeout == 0 {
		c.PublishTimeout = defaultPublishTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.FreeSpace == nil {
		c.FreeSpace = statfs
	}
	switch {
	case c.MaxStore < minMaxStore:
		return c, fmt.Errorf("nats.max_store: %d bytes is too little, use at least %d (64MiB)", c.MaxStore, minMaxStore)
	case c.Sync < 0:
		return c, fmt.Errorf("nats.sync: %s is negative, use always or a positive duration", c.Sync)
	case c.History < 0:
		return c, fmt.Errorf("nats history: %s is negative, use 0 to keep none", c.History)
	case c.URL == "" && c.DataDir == "":
		return c, fmt.Errorf("data_dir: missing; the embedded server needs a folder (or set nats.url)")
	}
	for key, file := range map[string]string{"nats.credentials_file": c.CredentialsFile, "nats.ca_file": c.CAFile} {
		if file == "" {
			continue
		}
		if c.URL == "" {
			return c, fmt.Errorf("%s: set without nats.url; the embedded server has no use for it", key)
		}
		if _, err := os.Stat(file); err != nil {
			return c, fmt.Errorf("%s: %w", key, err)
		}
	}
	return c, nil
}

// statfs is the free space that an ordinary user may use.
func statfs(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

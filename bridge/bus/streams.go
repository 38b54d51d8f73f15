package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The streams (design, section 4). A bucket's stream is named by kvPrefix and the bucket.
const (
	streamGraphIn   = "GRAPH_IN"
	streamPresence  = "PRESENCE"
	streamDecisions = "DECISIONS"

	subjectGraphIn   = "graph.in."
	subjectPresence  = "presence.v1."
	subjectDecisions = "decision.v1."
	subjectCommands  = "cmd.v1."

	kvPrefix = "KV_"
)

const (
	// MaxBodyAge is how long a body waits to be processed. What is older has been overtaken by
	// events: it is dropped, the gap is reported, and the members are read in full.
	MaxBodyAge = 10 * time.Minute
	// duplicateWindow is how long a de-duplication id is remembered. It catches the retries that
	// follow a lost or late 202 (Graph backs off from seconds to minutes); it costs some 200 bytes
	// of memory per stored body, and cannot be longer than MaxBodyAge.
	duplicateWindow = 5 * time.Minute
	// replicaAge lets a replica that is gone vanish from its bucket. Liveness is decided long before.
	replicaAge = time.Minute
	// ensureTries is how often a stream that a cluster did not make in time is tried.
	ensureTries = 4
	// wantReplicas is the number of copies in a cluster that has them.
	wantReplicas = 3
	// minAPILevel is JetStream's level of nats-server 2.12, the first with atomic batches.
	minAPILevel = 2
)

// streamConfigs is the table of design section 4. The shares of MaxStore leave a quarter to the
// buckets, so that full streams never keep a record from being written.
func streamConfigs(c Config) []jetstream.StreamConfig {
	configs := []jetstream.StreamConfig{{
		// Not a work queue: that removes each body when it is acknowledged, with a flush of the disk
		// for each. The consumer removes what was processed once a second instead (remover).
		Name:               streamGraphIn,
		Description:        "notification bodies as received, until processed",
		Subjects:           []string{subjectGraphIn + "*"},
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		MaxAge:             MaxBodyAge,
		MaxBytes:           c.MaxStore / 2,
		Duplicates:         duplicateWindow,
		Storage:            jetstream.FileStorage,
		AllowAtomicPublish: true,
	}}
	if c.History > 0 {
		configs = append(configs,
			feedConfig(streamPresence, "observations as folded", subjectPresence+">", c),
			feedConfig(streamDecisions, "what was decided, written and answered", subjectDecisions+"*.*", c))
	}
	return append(configs,
		bucketConfig(State, "the members' records", jetstream.FileStorage),
		bucketConfig(Directory, "identity, endpoints, groups, opt-out", jetstream.FileStorage),
		bucketConfig(Monitors, "monitors, shards and subscriptions; secrets sealed", jetstream.FileStorage),
		bucketConfig(Replicas, "live replicas", jetstream.MemoryStorage))
}

func feedConfig(name, description, subject string, c Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               name,
		Description:        description,
		Subjects:           []string{subject},
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardOld,
		MaxAge:             c.History,
		MaxBytes:           c.MaxStore / 8,
		Duplicates:         min(c.History, time.Second),
		Storage:            jetstream.FileStorage,
		AllowAtomicPublish: true,
	}
}

// bucketConfig is what jetstream.CreateKeyValue would make, but for two things: atomic batches are
// allowed, and direct gets are not, because a follower that is behind may answer those.
func bucketConfig(name BucketName, description string, storage jetstream.StorageType) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:               kvPrefix + string(name),
		Description:        description,
		Subjects:           []string{name.prefix() + ">"},
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		MaxMsgsPerSubject:  1,
		Storage:            storage,
		AllowRollup:        true,
		DenyDelete:         true,
		AllowMsgTTL:        true,
		AllowAtomicPublish: true,
	}
	if name == Replicas {
		cfg.MaxAge = replicaAge
		cfg.Duplicates = replicaAge
		cfg.MaxBytes = embeddedMaxMemory / 4
	}
	return cfg
}

// ensureStreams creates what is missing and brings what exists up to date.
func (b *Bus) ensureStreams(ctx context.Context) error {
	info, err := b.js.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("bus: asking for JetStream: %w", fromNATS(err))
	}
	if info.API.Level < minAPILevel {
		return fmt.Errorf("bus: nats server %s is too old (JetStream API level %d): use 2.12 or later",
			b.nc.ConnectedServerVersion(), info.API.Level)
	}
	for _, cfg := range streamConfigs(b.cfg) {
		stream, err := b.ensureStream(ctx, cfg)
		for try := 1; b.server == nil && isTimeout(err) && try < ensureTries && ctx.Err() == nil; try++ {
			// A cluster that has just begun, or whose leader has just died: somebody else may be making it, too.
			stream, err = b.ensureStream(ctx, cfg)
		}
		if err != nil {
			return fmt.Errorf("bus: stream %s: %w", cfg.Name, err)
		}
		b.setStream(cfg.Name, stream)
	}
	if b.cfg.History > 0 {
		return nil
	}
	for _, name := range []string{streamPresence, streamDecisions} {
		if err := b.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("bus: history is 0, removing stream %s: %w", name, fromNATS(err))
		}
	}
	return nil
}

// ensureStream makes one stream with as many replicas as the cluster has (three, else one). An
// existing stream never loses replicas because some servers are away right now.
func (b *Bus) ensureStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	cfg.Replicas = 1
	if b.nc.ConnectedClusterName() != "" {
		cfg.Replicas = wantReplicas
	}
	existing, err := b.js.Stream(ctx, cfg.Name)
	switch {
	case err == nil:
		have := existing.CachedInfo().Config
		cfg.Replicas = max(cfg.Replicas, have.Replicas)
		if sameStream(have, cfg) {
			return existing, nil
		}
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fromNATS(err)
	}
	stream, err := b.js.CreateOrUpdateStream(ctx, cfg)
	if tooFewServers(err) {
		cfg.Replicas = 1
		if existing != nil {
			cfg.Replicas = existing.CachedInfo().Config.Replicas
		}
		stream, err = b.js.CreateOrUpdateStream(ctx, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("creating or updating it with max_bytes %d, %d replicas: %w (if the server lacks the space, lower nats.max_store)",
			cfg.MaxBytes, cfg.Replicas, fromNATS(err))
	}
	if got := stream.CachedInfo().Config; !got.AllowAtomicPublish || got.AllowDirect {
		return nil, fmt.Errorf("%w: the server did not take allow_atomic or the absence of allow_direct", ErrUnavailable)
	}
	return stream, nil
}

// sameStream tells whether a stream is as it should be, so that a replica that starts does not trouble the cluster.
func sameStream(have, want jetstream.StreamConfig) bool {
	same := func(a, b jetstream.StreamConfig) bool {
		return a.Description == b.Description && slices.Equal(a.Subjects, b.Subjects) && a.Retention == b.Retention &&
			a.Discard == b.Discard && a.Storage == b.Storage && a.Replicas == b.Replicas
	}
	limits := func(c jetstream.StreamConfig) [4]int64 {
		return [4]int64{int64(c.MaxAge), max(c.MaxBytes, 0), max(c.MaxMsgsPerSubject, 0), int64(c.Duplicates)}
	}
	flags := func(c jetstream.StreamConfig) [5]bool {
		return [5]bool{c.AllowRollup, c.DenyDelete, c.AllowMsgTTL, c.AllowAtomicPublish, c.AllowDirect}
	}
	if want.Duplicates == 0 { // the server's own
		want.Duplicates = have.Duplicates
	}
	return same(have, want) && limits(have) == limits(want) && flags(have) == flags(want)
}

func tooFewServers(err error) bool {
	return isCode(err, codeNoPeers) || isCode(err, codeReplicasNotAllowed)
}

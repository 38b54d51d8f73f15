package verify

import (
	"fmt"
	"slices"
	"strings"

	"presencebridge/bridge/bus"
	"presencebridge/bridge/console/client/api"
	"presencebridge/cmd/internal/config"
)

// checkBus says whether the bus can be used.
func checkBus(s *site) []Check {
	const name = "bus"
	if s.cfg.NATS.URL != "" {
		switch {
		case s.busErr != nil:
			return []Check{failed(name, "nats.url", "correct nats.url, nats.credentials_file or nats.ca_file, or start the server with JetStream", "%v", s.busErr)}
		case !s.external.Usable:
			return []Check{failed(name, "nats.url", "use nats-server 2.12 or later", "nats-server %s is too old", s.external.Version)}
		case len(s.external.Missing) > 0:
			return []Check{ok(name, "nats.url", "nats-server %s answers with JetStream; the first start makes %d streams", s.external.Version, len(s.external.Missing))}
		}
		return []Check{ok(name, "nats.url", "nats-server %s answers; all %d streams are there", s.external.Version, len(s.external.Streams))}
	}
	if s.running.found {
		i := slices.IndexFunc(s.running.readiness.Checks, func(c api.Check) bool { return c.Name == "bus" })
		switch {
		case i < 0:
			return []Check{skipped(name, "embedded", "the running bridge does not speak of its bus")}
		case !s.running.readiness.Checks[i].OK:
			return []Check{failed(name, "embedded", "the bridge's log says more", "%s", s.running.readiness.Checks[i].Detail)}
		}
		return []Check{ok(name, "embedded", "the running bridge says that it accepts and delivers")}
	}
	switch {
	case s.store.owner != nil:
		return []Check{warning(name, "embedded", "run verify, and the bridge, as the user that owns data_dir", "%v", s.store.owner)}
	case !s.store.exists:
		return []Check{ok(name, "embedded", "%s does not exist yet; the first start makes it", s.cfg.DataDir)}
	case s.running.locked:
		return []Check{skipped(name, "embedded", "a process works on %s and cannot be asked", s.cfg.DataDir)}
	}
	return []Check{ok(name, "embedded", "%s is there and no other process works on it", s.cfg.DataDir)}
}

// checkDurability says what a power cut or a lost server costs.
func checkDurability(s *site) []Check {
	const name = "bus_durability"
	if s.cfg.NATS.URL == "" {
		if s.cfg.NATS.Sync == config.SyncAlways {
			return []Check{ok(name, "embedded", "nats.sync is always: what was acknowledged survives a power cut")}
		}
		return []Check{warning(name, "embedded", "set nats.sync to always, unless the disk cannot keep up",
			"nats.sync is %s: a power cut may cost what was stored in that time", s.cfg.NATS.Sync)}
	}
	if s.busErr != nil {
		return []Check{skipped(name, "nats.url", "the server cannot be asked")}
	}
	const own = "when the servers flush to disk is their own setting (sync_interval), which cannot be seen from here"
	if s.external.Cluster == "" {
		return []Check{warning(name, "nats.url", fmt.Sprintf("use a cluster of at least %d servers", bus.WantReplicas), "a single server keeps one copy; %s", own)}
	}
	var few, behind []string
	for _, stream := range s.external.Streams {
		if stream.Replicas < bus.WantReplicas {
			few = append(few, fmt.Sprintf("%s has %d", stream.Name, stream.Replicas))
		}
		if stream.Current < stream.Replicas {
			behind = append(behind, fmt.Sprintf("%s has %d of %d", stream.Name, stream.Current, stream.Replicas))
		}
	}
	var out []Check
	if len(few) > 0 {
		out = append(out, warning(name, "nats.url", "let the cluster have three servers with JetStream, then restart the bridge", "fewer than %d copies: %s", bus.WantReplicas, strings.Join(few, ", ")))
	}
	if len(behind) > 0 {
		out = append(out, warning(name, "nats.url", "find out which server is away: nats server report jetstream", "copies that are not up to date: %s", strings.Join(behind, ", ")))
	}
	if len(out) == 0 {
		out = append(out, ok(name, "nats.url", "cluster %s, %d copies of everything, all up to date; %s", s.external.Cluster, bus.WantReplicas, own))
	}
	return out
}

// checkSpace says whether the bus has room.
func checkSpace(s *site) []Check {
	const name = "bus_space"
	n := s.cfg.NATS
	switch {
	case n.URL != "":
		return []Check{skipped(name, "nats.url", "the disks belong to the servers")}
	case s.freeErr != nil:
		return []Check{failed(name, "embedded", "name a folder that can be read", "%v", s.freeErr)}
	case s.free < int64(n.MinFree):
		return []Check{failed(name, "embedded", "make room on the disk of data_dir, or move data_dir",
			"%s are free, less than nats.min_free (%s): every notification is answered with 503", size(s.free), n.MinFree)}
	case s.free < int64(n.MinFree)+int64(n.MaxStore)-s.used:
		return []Check{warning(name, "embedded", "make room on the disk of data_dir, or lower nats.max_store",
			"%s are free and %s are in use; nats.max_store (%s) would not fit above nats.min_free (%s)", size(s.free), size(s.used), n.MaxStore, n.MinFree)}
	}
	return []Check{ok(name, "embedded", "%s are free; nats.max_store is %s, nats.min_free %s", size(s.free), n.MaxStore, n.MinFree)}
}

// size is a number of bytes for people to read.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strings.Replace(fmt.Sprintf("%.1f %s", f, units[i]), ".0 ", " ", 1)
}

package directory

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/presence"
)

// ErrConflict is what a [Store] wraps when a revision was not the present one.
var ErrConflict = errors.New("directory: the stored entry was changed by somebody else")

// Entry is one stored person.
type Entry struct {
	Key      string // the member's id
	Value    []byte
	Revision uint64
}

// Store is where a Keeper keeps its entries: the directory bucket. Safe for concurrent use.
type Store interface {
	// Put writes if the key is at revision (0: does not exist) and returns the new one. A revision
	// that is not the present one is an error that wraps [ErrConflict]. Any other error leaves open
	// whether the value was written.
	Put(ctx context.Context, account, key string, value []byte, revision uint64) (uint64, error)
	// Delete removes the key if it is at revision. Deleting what is not there is no error.
	Delete(ctx context.Context, account, key string, revision uint64) error
	// All calls each for every entry of the account, and ends with each's error, if any.
	All(ctx context.Context, account string, each func(Entry) error) error
}

// KeeperConfig is what a [Keeper] needs.
type KeeperConfig struct {
	Account string
	Store   Store
	Log     *slog.Logger          // default: discard
	Metrics prometheus.Registerer // default: none
	// Parallel is how many writes wait in the store at a time, so that it can group them. Default 64.
	Parallel int
}

// Known is the last known directory.
type Known struct {
	Users   []User   // everybody, for another Match
	Members []Member // those with endpoints, or excluded
	People  []Person // those without
}

// Keeper remembers the last result of [Match] in a store. Its methods are safe for concurrent use; one
// Load or Save runs at a time.
type Keeper struct {
	cfg    KeeperConfig
	gauges *prometheus.GaugeVec

	mu     sync.Mutex // held over a whole Load or Save
	stored map[string]stored
	loaded bool
}

// stored is what is known of an entry. The value itself would be a copy of the whole directory in
// memory; a hash tells as well whether it has changed.
type stored struct {
	sum      [sha256.Size]byte
	revision uint64
}

// record is the stored form of a person.
type record struct {
	User
	Endpoints []presence.EndpointID `json:"endpoints,omitempty"`
	Matched   []Matched             `json:"matched,omitempty"`
	Groups    []string              `json:"groups,omitempty"`
	Excluded  bool                  `json:"excluded,omitempty"`
	Reason    Reason                `json:"reason,omitempty"`
}

// NewKeeper makes a Keeper. It reads nothing yet.
func NewKeeper(cfg KeeperConfig) (*Keeper, error) {
	if cfg.Account == "" || cfg.Store == nil {
		return nil, errors.New("directory: a keeper needs an account and a store")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 64
	}
	k := &Keeper{cfg: cfg, stored: map[string]stored{}}
	k.gauges = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name:        "presence_bridge_directory_entries",
		Help:        "People and endpoints of the directory by what was found for them.",
		ConstLabels: prometheus.Labels{"account": cfg.Account},
	}, []string{"kind", "reason"})
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(k.gauges); err != nil {
			return nil, fmt.Errorf("directory: register metrics of account %s: %w", cfg.Account, err)
		}
	}
	return k, nil
}

// Load reads the last known directory. An entry that cannot be read is skipped and logged: it costs one
// person until the next Save, not everybody.
func (k *Keeper) Load(ctx context.Context) (Known, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.load(ctx)
}

func (k *Keeper) load(ctx context.Context) (Known, error) {
	var out Known
	found := map[string]stored{}
	err := k.cfg.Store.All(ctx, k.cfg.Account, func(e Entry) error {
		found[e.Key] = stored{sum: sha256.Sum256(e.Value), revision: e.Revision}
		var r record
		if err := json.Unmarshal(e.Value, &r); err != nil || r.ID == "" {
			k.cfg.Log.Warn("directory entry cannot be read", "account", k.cfg.Account, "revision", e.Revision)
			return nil
		}
		out.add(r)
		return nil
	})
	if err != nil {
		return Known{}, fmt.Errorf("directory: load account %s: %w", k.cfg.Account, err)
	}
	k.stored, k.loaded = found, true
	k.count(Result{Members: out.Members, People: out.People})
	return out, nil
}

func (n *Known) add(r record) {
	n.Users = append(n.Users, r.User)
	if len(r.Endpoints) > 0 || r.Excluded {
		n.Members = append(n.Members, Member{
			ID: r.ID, UPN: r.UPN, Mail: r.Mail, Name: r.Name, Endpoints: r.Endpoints, Matched: r.Matched, Groups: r.Groups,
			Excluded: r.Excluded, Reason: r.Reason,
		})
		return
	}
	n.People = append(n.People, Person{ID: r.ID, UPN: r.UPN, Mail: r.Mail, Name: r.Name, Reason: r.Reason})
}

// Save stores what changed since the last Load or Save. When it fails, what was written stays and the
// rest follows with the next Save; a conflict makes it read everything again first.
func (k *Keeper) Save(ctx context.Context, users []User, res Result) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count(res)
	want := records(users, res)
	if !k.loaded {
		if _, err := k.load(ctx); err != nil {
			return err
		}
		k.count(res)
	}
	err := k.write(ctx, want)
	if errors.Is(err, ErrConflict) {
		if _, err := k.load(ctx); err != nil {
			return err
		}
		k.count(res)
		err = k.write(ctx, want)
	}
	if err != nil {
		k.loaded = false // an unanswered write may have landed
		return fmt.Errorf("directory: save account %s: %w", k.cfg.Account, err)
	}
	return nil
}

func (k *Keeper) write(ctx context.Context, want map[string]record) error {
	var mu sync.Mutex // guards k.stored among the writers below
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(k.cfg.Parallel)
	have := maps.Clone(k.stored)
	for key, r := range want {
		value, err := json.Marshal(r)
		if err != nil {
			return errors.Join(fmt.Errorf("encode an entry: %w", err), g.Wait())
		}
		s, sum := have[key], sha256.Sum256(value)
		if s.revision != 0 && s.sum == sum {
			continue
		}
		g.Go(func() error {
			rev, err := k.cfg.Store.Put(ctx, k.cfg.Account, key, value, s.revision)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			k.stored[key] = stored{sum: sum, revision: rev}
			return nil
		})
	}
	for key, s := range have {
		if _, wanted := want[key]; wanted {
			continue
		}
		g.Go(func() error {
			if err := k.cfg.Store.Delete(ctx, k.cfg.Account, key, s.revision); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			delete(k.stored, key)
			return nil
		})
	}
	return g.Wait()
}

// records are the entries to be stored, by key.
func records(users []User, res Result) map[string]record {
	byID := make(map[string]User, len(users))
	for _, u := range users {
		u.ID = key(u.ID)
		byID[u.ID] = u
	}
	out := make(map[string]record, len(byID))
	for _, m := range res.Members {
		u, listed := byID[m.ID]
		if !listed { // a result that was made of other users
			u = User{ID: m.ID, UPN: m.UPN, Mail: m.Mail, Name: m.Name, Enabled: true}
		}
		out[m.ID] = record{u, m.Endpoints, m.Matched, m.Groups, m.Excluded, m.Reason}
	}
	for _, p := range res.People {
		u, listed := byID[p.ID]
		if !listed {
			u = User{ID: p.ID, UPN: p.UPN, Name: p.Name, Enabled: p.Reason != Disabled}
		}
		out[p.ID] = record{User: u, Reason: p.Reason}
	}
	return out
}

// count shows the result in the metrics.
func (k *Keeper) count(res Result) {
	n := map[[2]string]int{{"member", ""}: 0}
	for _, m := range res.Members {
		n[[2]string{"member", string(m.Reason)}]++
	}
	for _, p := range res.People {
		n[[2]string{"person", string(p.Reason)}]++
	}
	for _, e := range res.Endpoints {
		n[[2]string{"endpoint", string(e.Reason)}]++
	}
	for _, e := range res.Ambiguous {
		n[[2]string{"ambiguous", string(e.Reason)}]++
	}
	k.gauges.Reset()
	for labels, v := range n {
		k.gauges.WithLabelValues(labels[0], labels[1]).Set(float64(v))
	}
}

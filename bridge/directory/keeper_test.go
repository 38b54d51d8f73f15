package directory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

var errStore = errors.New("the store is away")

// memory is a store that fails on request: before it wrote, or after.
type memory struct {
	mu      sync.Mutex
	entries map[string]Entry
	rev     uint64
	writes  int
	failing int // the next writes to fail
	landed  bool
	away    bool
}

func (m *memory) fail(landed *bool) error {
	if m.failing == 0 {
		return nil
	}
	m.failing--
	*landed = m.landed
	return errStore
}

func (m *memory) Put(_ context.Context, account, key string, value []byte, revision uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	if m.entries[account+"."+key].Revision != revision {
		return 0, fmt.Errorf("put %s: %w", key, ErrConflict)
	}
	land := true
	err := m.fail(&land)
	if err == nil || land {
		m.rev++
		m.entries[account+"."+key] = Entry{Key: key, Value: value, Revision: m.rev}
	}
	return m.rev, err
}

func (m *memory) Delete(_ context.Context, account, key string, revision uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	e, found := m.entries[account+"."+key]
	if found && e.Revision != revision {
		return ErrConflict
	}
	land := true
	err := m.fail(&land)
	if err == nil || land {
		delete(m.entries, account+"."+key)
	}
	return err
}

func (m *memory) All(_ context.Context, account string, each func(Entry) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errStore
	}
	for k, e := range m.entries {
		if k == account+"."+e.Key {
			if err := each(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func keeper(t *testing.T, m *memory, account string) *Keeper {
	t.Helper()
	k, err := NewKeeper(KeeperConfig{Account: account, Store: m})
	require.NoError(t, err)
	return k
}

func TestKeeperRemembers(t *testing.T) {
	m := &memory{entries: map[string]Entry{}}
	off := person("c", "c@x.test", "")
	off.Enabled = false
	people := []User{person("A", "a@x.test", "anna@x.test"), person("b", "b@x.test", ""), off}
	phones := map[string][]pbx.User{"p": {phone("1", "anna@x.test")}}
	res := Match(people, phones, Options{Exclude: []string{"b"}})
	k := keeper(t, m, "contoso")
	require.NoError(t, k.Save(t.Context(), people, res))
	require.Equal(t, 3, m.writes)
	require.NoError(t, k.Save(t.Context(), people, res))
	require.Equal(t, 3, m.writes, "what did not change is not written")

	// A new process, Graph down: members, reasons and users are known, and a match of the users with
	// the PBX gives the same again.
	other := keeper(t, m, "fabrikam")
	known, err := other.Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, known.Users, "accounts do not see one another")
	known, err = keeper(t, m, "contoso").Load(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, res.Members, known.Members)
	require.ElementsMatch(t, res.People, known.People)
	require.Equal(t, res, Match(known.Users, phones, Options{Exclude: []string{"b"}}))

	// A leaver goes.
	res = Match(people[:1], phones, Options{})
	require.NoError(t, k.Save(t.Context(), people[:1], res))
	require.Len(t, m.entries, 1)
}

func TestKeeperSurvivesFailures(t *testing.T) {
	for _, landed := range []bool{false, true} {
		t.Run(fmt.Sprintf("landed=%v", landed), func(t *testing.T) {
			m := &memory{entries: map[string]Entry{}, failing: 1, landed: landed}
			people := []User{person("a", "a@x.test", ""), person("b", "b@x.test", "")}
			k := keeper(t, m, "contoso")
			require.ErrorIs(t, k.Save(t.Context(), people, Match(people, nil, Options{})), errStore)
			require.NoError(t, k.Save(t.Context(), people, Match(people, nil, Options{})))
			known, err := k.Load(t.Context())
			require.NoError(t, err)
			require.Len(t, known.People, 2)
		})
	}
}

func TestKeeperYieldsToAnotherWriter(t *testing.T) {
	m := &memory{entries: map[string]Entry{}}
	one, two := keeper(t, m, "contoso"), keeper(t, m, "contoso")
	people := []User{person("a", "a@x.test", "")}
	require.NoError(t, one.Save(t.Context(), people, Match(people, nil, Options{})))
	_, err := two.Load(t.Context())
	require.NoError(t, err)
	people[0].Name = "new"
	require.NoError(t, two.Save(t.Context(), people, Match(people, nil, Options{})))
	people[0].Name = "newer"
	require.NoError(t, one.Save(t.Context(), people, Match(people, nil, Options{})))
	known, err := two.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, "newer", known.People[0].Name)
}

func TestKeeperSkipsWhatItCannotRead(t *testing.T) {
	m := &memory{entries: map[string]Entry{"contoso.a": {Key: "a", Value: []byte("{"), Revision: 1}}, rev: 1}
	k := keeper(t, m, "contoso")
	known, err := k.Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, known.Users)
	people := []User{person("a", "a@x.test", "")}
	require.NoError(t, k.Save(t.Context(), people, Match(people, nil, Options{})))
	known, err = k.Load(t.Context())
	require.NoError(t, err)
	require.Len(t, known.Users, 1)

	m.away = true
	_, err = k.Load(t.Context())
	require.ErrorIs(t, err, errStore)
}

func TestKeeperCounts(t *testing.T) {
	reg := prometheus.NewRegistry()
	k, err := NewKeeper(KeeperConfig{Account: "contoso", Store: &memory{entries: map[string]Entry{}}, Metrics: reg})
	require.NoError(t, err)
	people := []User{person("a", "a@x.test", ""), person("b", "b@x.test", "")}
	require.NoError(t, k.Save(t.Context(), people, Match(people, map[string][]pbx.User{"p": {phone("1", "a@x.test")}}, Options{})))
	require.InDelta(t, 1, testutil.ToFloat64(k.gauges.WithLabelValues("member", "")), 0)
	require.InDelta(t, 1, testutil.ToFloat64(k.gauges.WithLabelValues("person", "no_endpoint")), 0)
	_, err = NewKeeper(KeeperConfig{Account: "contoso", Store: &memory{}, Metrics: reg})
	require.Error(t, err, "two keepers of one account")
	_, err = NewKeeper(KeeperConfig{})
	require.Error(t, err)
}

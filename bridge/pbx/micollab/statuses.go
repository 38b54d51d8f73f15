package micollab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

const (
	// unknownGap is the least time between two listings of statuses because of unknown names.
	unknownGap = 5 * time.Second
	// unknownAgain is how long a name that no listing knew is not asked for again.
	unknownAgain = time.Minute
	// unknownWait is how long an event may wait for its status to be classified.
	unknownWait = 3 * time.Second
	// maxUnknown bounds how many such names are remembered.
	maxUnknown = 256
)

// statusCache is what the PBX can show, as it last said.
type statusCache struct {
	one chan struct{} // holds a token while nobody asks the PBX

	mu      sync.Mutex
	list    []presence.Status
	byName  map[string]presence.Status // by folded name; nil before the first listing
	listed  time.Time
	stale   bool
	failed  bool                 // the last listing did
	asked   time.Time            // of the last listing because of an unknown name or staleness
	unknown map[string]time.Time // names that a listing did not know
}

func (s *statusCache) init() {
	s.one = make(chan struct{}, 1)
	s.one <- struct{}{}
	s.unknown = map[string]time.Time{}
}

func fold(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

func (s *statusCache) find(name string) (st presence.Status, found, loaded bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, found = s.byName[fold(name)]
	return st, found, s.byName != nil
}

// due says whether a listing should be asked for because of name, and notes that it is.
func (s *statusCache) due(name string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found := s.byName[fold(name)]
	if found && !s.stale || now.Sub(s.asked) < unknownGap {
		return false
	}
	if at, ok := s.unknown[fold(name)]; ok && !s.stale && now.Sub(at) < unknownAgain {
		return false
	}
	s.asked = now
	return true
}

// notKnown notes that the last listing, if there was one, does not know name.
func (s *statusCache) notKnown(name string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return
	}
	if len(s.unknown) >= maxUnknown {
		clear(s.unknown)
	}
	s.unknown[fold(name)] = now
}

func (s *statusCache) tried(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err != nil
}

// expire lets the list be asked for again before it is next believed, unless it is fresh: whoever was just
// told of a reset asks for it too.
func (s *statusCache) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = s.stale || time.Since(s.listed) > unknownGap
}

func (s *statusCache) take(list []presence.Status) {
	byName := make(map[string]presence.Status, len(list))
	for _, st := range list {
		byName[fold(st.Name)] = st
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list, s.byName, s.stale, s.listed = list, byName, false, time.Now()
}

// Statuses implements [pbx.Connector].
func (c *Client) Statuses(ctx context.Context) ([]presence.Status, error) {
	const op = "list statuses"
	select {
	case <-c.statuses.one:
		defer func() { c.statuses.one <- struct{}{} }()
	case <-ctx.Done():
		return nil, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: ctx.Err()}
	}
	body, err := c.do(ctx, request{op: op, method: http.MethodGet, path: "/v1/statuses", maxBody: maxStatuses})
	if err != nil {
		return nil, err
	}
	list, bad, err := decodeStatuses(body)
	if err != nil {
		c.metrics.Bad("answer")
		return nil, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: fmt.Errorf("%w: %w", errBadAnswer, err)}
	}
	if bad > 0 {
		c.metrics.Bad("status")
		c.cfg.Log.WarnContext(ctx, "statuses of the pbx cannot be read and are left out", "count", bad)
	}
	c.statuses.take(list)
	return append([]presence.Status(nil), list...), nil
}

// decodeStatuses leaves out what has no name, and all but the first of a name.
func decodeStatuses(body []byte) (list []presence.Status, bad int, err error) {
	var w wireStatuses
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, 0, err
	}
	if w.Statuses == nil {
		return nil, 0, errors.New("statuses is missing")
	}
	taken := map[string]bool{}
	for _, raw := range *w.Statuses {
		var s wireStatus
		if json.Unmarshal(raw, &s) != nil || strings.TrimSpace(s.Name) == "" || taken[fold(s.Name)] {
			bad++
			continue
		}
		taken[fold(s.Name)] = true
		kind, _ := presence.ParseKind(s.Kind)
		list = append(list, presence.Status{Name: s.Name, Kind: kind})
	}
	return list, bad, nil
}

// ensureStatuses sees to it that statuses can be classified at all.
func (c *Client) ensureStatuses(ctx context.Context) error {
	if _, _, loaded := c.statuses.find(""); loaded {
		return nil
	}
	_, err := c.Statuses(ctx)
	return err
}

// status classifies a name. One that the PBX does not list, when asked, is custom: nobody writes over it.
func (c *Client) status(ctx context.Context, name string) presence.Status {
	if name == "" {
		return presence.Status{}
	}
	if c.statuses.due(name, time.Now()) {
		ctx, cancel := context.WithTimeout(ctx, min(unknownWait, c.cfg.Timeout))
		_, err := c.Statuses(ctx)
		cancel()
		c.statuses.tried(err)
		if err != nil {
			c.cfg.Log.WarnContext(ctx, "statuses of the pbx cannot be listed", "error", err)
		}
	}
	st, found, _ := c.statuses.find(name)
	if !found {
		c.statuses.notKnown(name, time.Now())
		return presence.Status{Name: name, Kind: presence.KindCustom}
	}
	return presence.Status{Name: name, Kind: st.Kind}
}

// siteName is how the PBX spells a status that is to be written.
func (c *Client) siteName(want presence.Status) (string, error) {
	if want.Name != "" {
		if st, found, _ := c.statuses.find(want.Name); found {
			return st.Name, nil
		}
		return want.Name, nil // the PBX may know it by now: it says so itself
	}
	c.statuses.mu.Lock()
	defer c.statuses.mu.Unlock()
	for _, st := range c.statuses.list {
		if st.Kind == want.Kind && want.Kind != presence.KindUnknown {
			return st.Name, nil
		}
	}
	return "", fmt.Errorf("the pbx has no status of kind %q", want.Kind)
}

// Package teams carries the engine's words to Microsoft Graph and back. The engine sets, clears and reads
// presence of members; Graph knows sessions, leases, priorities and pages of 650 users. No
// rule about what to set lives here.
package teams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"presencebridge/bridge/presence"
	"presencebridge/graph"
)

// Graph is what is needed of the client of Graph; [graph.Client] has it.
type Graph interface {
	// SetPresence sets or prolongs the application's own session of a user for lease.
	SetPresence(ctx context.Context, userID string, p presence.Pair, lease time.Duration) error
	// ClearPresence ends that session; that there is none is success.
	ClearPresence(ctx context.Context, userID string) error
	// SetPreferredPresence sets what the user is shown as whatever their sessions say.
	SetPreferredPresence(ctx context.Context, userID string, p presence.Pair, expires time.Duration) error
	// ClearPreferredPresence takes the preferred presence away, whoever chose it.
	ClearPreferredPresence(ctx context.Context, userID string) error
	// SetStatusMessage sets the status message of a user; "" takes it away.
	SetStatusMessage(ctx context.Context, userID, text string, until time.Time) error
	Reads
}

// Reads is what reads of presence are made with; [graph.Readers] has it too.
type Reads interface {
	// Presences reads at most graph.MaxPresences users.
	Presences(ctx context.Context, ids []string) ([]graph.Presence, error)
}

// Config is what [Teams] is made from.
type Config struct {
	// Graph is the account's client. Required.
	Graph Graph
	// Reads makes the reads, for an account of several applications. Nil: Graph makes them.
	Reads Reads
	// Parallel is how many pages of one read are under way at once. Default 4.
	Parallel int
}

// Teams is Teams as the engine sees it. It is safe for concurrent use and keeps no state.
type Teams struct {
	graph    Graph
	reads    Reads
	parallel int
}

// New makes a Teams.
func New(cfg Config) (*Teams, error) {
	if cfg.Graph == nil {
		return nil, errors.New("teams: no client of Graph given")
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 4
	}
	if cfg.Reads == nil {
		cfg.Reads = cfg.Graph
	}
	return &Teams{graph: cfg.Graph, reads: cfg.Reads, parallel: cfg.Parallel}, nil
}

// NotSettableError says that no session of Graph's can show this pair. Nothing was sent. It is a mistake of the policy,
// not of the moment.
type NotSettableError struct {
	Pair presence.Pair
}

// Error names the pair and those that can be set.
func (e *NotSettableError) Error() string {
	return fmt.Sprintf("teams: %s cannot be set: Graph takes %s", e.Pair, settableList())
}

// Retry tells that trying again does not help.
func (e *NotSettableError) Retry() bool { return false }

// SettablePairs are the pairs that a session can show (learn:api/presence-setpresence). Any other is refused,
// or has no effect.
func SettablePairs() []presence.Pair {
	return []presence.Pair{
		{Availability: presence.Available, Activity: presence.Available},
		{Availability: presence.Busy, Activity: presence.InACall},
		{Availability: presence.Busy, Activity: presence.InAConferenceCall},
		{Availability: presence.Away, Activity: presence.Away},
		{Availability: presence.DoNotDisturb, Activity: presence.Presenting},
	}
}

// Settable tells whether a session can show the pair, whatever its casing.
func Settable(p presence.Pair) bool {
	_, ok := settable(p)
	return ok
}

// settable returns the pair in Graph's own spelling.
func settable(p presence.Pair) (presence.Pair, bool) {
	// The words in any casing, but each in its own column: what is read leniently is written exactly.
	p.Availability, _ = presence.ParseWord(p.Availability)
	p.Activity, _ = presence.ParseWord(p.Activity)
	for _, s := range SettablePairs() {
		if p == s {
			return s, true
		}
	}
	return p, false
}

func settableList() string {
	pairs := SettablePairs()
	names := make([]string, len(pairs))
	for i, p := range pairs {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}

// Set makes the bridge's own session of a member show p for lease. renewal says that it only
// prolongs what stands: such a write goes after all others. Errors are [NotSettableError] or [graph.Error];
// with Unanswered set, nobody knows whether it landed.
func (t *Teams) Set(ctx context.Context, member string, p presence.Pair, lease time.Duration, renewal bool) error {
	pair, ok := settable(p)
	if !ok {
		return &NotSettableError{Pair: p}
	}
	priority := graph.PriorityNormal
	if renewal {
		priority = graph.PriorityRenew
	}
	return t.graph.SetPresence(graph.WithPriority(ctx, priority), member, pair, lease)
}

// Clear ends the bridge's own session of a member, ahead of all other writes. That there is none is success.
func (t *Teams) Clear(ctx context.Context, member string) error {
	return t.graph.ClearPresence(ctx, member)
}

// SetPreferred makes p the preferred presence of a member, for that long at most.
func (t *Teams) SetPreferred(ctx context.Context, member string, p presence.Pair, lasts time.Duration) error {
	return t.graph.SetPreferredPresence(ctx, member, p, lasts)
}

// ClearPreferred takes the preferred presence of a member away if it is still ours. Graph keeps no owner of it, so what
// shows is read right before: another choice is the person's, and stays. Who is offline cannot have chosen anything.
func (t *Teams) ClearPreferred(ctx context.Context, member string, ours presence.Pair) error {
	shown, err := t.Read(ctx, []string{member})
	if err != nil {
		return fmt.Errorf("teams: read before clearing a preferred presence: %w", err)
	}
	now, ok := shown[member]
	switch {
	case !ok:
		return errors.New("teams: the presence could not be read, so the preferred one is left alone")
	case now.Pair != ours && !now.Pair.IsOffline():
		return nil
	}
	return t.graph.ClearPreferredPresence(ctx, member)
}

// SetMessage makes text the status message of a member until then, or takes it away (""), unless what shows is the person's
// own: neither nothing nor one of ours. Graph keeps no owner of a message, so it is read right before; it does keep an
// expiry, so that a message of ours ends by itself (learn:api/presence-setstatusmessage).
func (t *Teams) SetMessage(ctx context.Context, member, text string, ours []string, until time.Time) error {
	shown, err := t.Read(ctx, []string{member})
	if err != nil {
		return fmt.Errorf("teams: read the status message: %w", err)
	}
	now, ok := shown[member]
	switch {
	case !ok:
		return errors.New("teams: the status message could not be read, so it is left alone")
	case now.Message == text && text == "":
		return nil
	case now.Message != "" && now.Message != text && !slices.Contains(ours, now.Message):
		return nil
	case text == "":
		until = time.Time{}
	}
	return t.graph.SetStatusMessage(ctx, member, text, until)
}

// Read reads members directly, ahead of all other reads unless ctx carries a priority of its own
// ([graph.WithPriority]). The result is keyed as asked for; each member is asked for once, in pages of
// 650. A member that is missing was not read: Graph left it out, or its page failed, and then the error
// says why, beside what the other pages said. Errors are [graph.Error].
func (t *Teams) Read(ctx context.Context, members []string) (map[string]presence.Shown, error) {
	if graph.PriorityOf(ctx) == graph.PriorityNormal {
		ctx = graph.WithPriority(ctx, graph.PriorityConfirm)
	}
	asked := make(map[string][]string, len(members)) // by id in lower case: as asked for
	ids := make([]string, 0, len(members))
	for _, m := range members {
		if m == "" {
			continue
		}
		key := strings.ToLower(m)
		if asked[key] == nil {
			ids = append(ids, m)
		}
		asked[key] = append(asked[key], m)
	}
	pages, err := t.pages(ctx, ids)
	shown := make(map[string]presence.Shown, len(ids))
	for _, page := range pages {
		for _, p := range page {
			for _, m := range asked[strings.ToLower(p.UserID)] {
				shown[m] = p.Shown()
			}
		}
	}
	return shown, err
}

// pages reads ids in pages of at most 650, some at once, and returns the first failure.
func (t *Teams) pages(ctx context.Context, ids []string) ([][]graph.Presence, error) {
	pages := make([][]graph.Presence, (len(ids)+graph.MaxPresences-1)/graph.MaxPresences)
	var group errgroup.Group
	group.SetLimit(t.parallel)
	for i := range pages {
		part := ids[i*graph.MaxPresences : min((i+1)*graph.MaxPresences, len(ids))]
		group.Go(func() (err error) {
			pages[i], err = t.reads.Presences(ctx, part)
			return err
		})
	}
	return pages, group.Wait()
}

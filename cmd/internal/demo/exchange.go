package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/sims"
)

// phoneState is what a PBX shows for one of its users.
type phoneState struct {
	Line, Status string
}

// phoneChange is one change on a PBX. By is "user" for a choice by hand and "line" for the phone; anything else is the
// bridge.
type phoneChange struct {
	User          string
	Before, After phoneState
	By            string
}

// exchange is one simulated PBX, as the demo needs it.
type exchange interface {
	// Keys are the keys of its type in the configuration of a PBX, as YAML; file writes a file that they name.
	Keys(file func(name, content string) (string, error)) (string, error)
	// Statuses are what its users can choose; the first is what they begin with.
	Statuses() policy.Catalogue
	// Authors tells whether it says who chose a status.
	Authors() bool
	// Users are the PBX's own ids of the people that it was started with, in order.
	Users() []string
	// Phone is what it really shows, and what the person last chose by hand.
	Phone(user string) (shown phoneState, chosen string, err error)
	// SetFaults makes it none, some or cruel.
	SetFaults(name string) error
	// Move lets people move until stop is called, which waits for them.
	Move(rate float64, seed uint64) (stop func(), err error)
	// Pending counts what is late and still to come.
	Pending() int
	// Writes counts the bridge's writes, and Lines the changes of lines.
	Writes() int
	Lines() int
	Close() error
}

// exchanges start a simulated PBX for people, by type. changed is told of every change, in order.
func exchanges() map[string]func(people []sims.Person, seed uint64, changed func(phoneChange)) (exchange, error) {
	return map[string]func([]sims.Person, uint64, func(phoneChange)) (exchange, error){
		"micollab": startMiCollab, "3cx": start3CX, "sip": startSIP,
	}
}

// pbx is one PBX on the stage.
type pbx struct {
	exchange
	name, kind string
	catalogue  policy.Catalogue
}

// handset is a person's phone on one PBX, as the watcher knows it.
type handset struct {
	pbx       string
	user      string // the PBX's own id
	authors   bool   // the PBX says who chose a status
	catalogue policy.Catalogue

	line          presence.Line
	chosen, shows presence.Status
	picked        time.Time       // last choice by hand
	earlier       presence.Status // the choice before
	// blind are the choices that may count in place of chosen. Where the PBX does not say who chose, a pick of just what the
	// bridge is writing leaves no trace, and so does one that is taken back before anybody looked.
	blind    []presence.Status
	want     presence.Status // what policy makes of Teams
	wantFrom time.Time

	// due is a change in Teams that nothing has disturbed since, and whose effect on the phone has not come.
	due      presence.Status
	dueSince time.Time
}

func (h *handset) status(name string) presence.Status {
	if s, ok := h.catalogue.Find(name); ok {
		return s
	}
	return presence.Status{Name: name, Kind: presence.KindCustom}
}

// pick notes a choice by hand. Within a moment a choice and a change in Teams, or two choices, may not be told apart.
func (h *handset) pick(st presence.Status, now time.Time, moment time.Duration) {
	before := []presence.Status{h.chosen}
	soon := now.Sub(h.picked) < moment
	if soon {
		before = append(before, h.earlier)
		before = append(before, h.blind...)
	}
	h.blind = nil
	if !h.authors && (st.Same(h.want) || soon) && (soon || now.Sub(h.wantFrom) < moment) {
		h.blind = before
	}
	h.earlier, h.chosen, h.picked = h.chosen, st, now
}

// writtenOver notes that a write of the bridge came over a choice that it may not have seen: a write that lands late, on a
// PBX where nobody can say under which condition it may.
func (h *handset) writtenOver(status string, now time.Time, moment time.Duration) {
	if !h.authors && now.Sub(h.picked) < moment && h.status(status).Same(h.chosen) {
		h.blind = append(h.blind, h.earlier)
	}
}

// parsePBXs reads --pbx.
func parsePBXs(text string) ([]string, error) {
	var kinds []string
	for kind := range strings.SplitSeq(text, ",") {
		kind = strings.TrimSpace(kind)
		if exchanges()[kind] == nil {
			return nil, fmt.Errorf("--pbx %s: there is no PBX of type %q; use one or more of %s", text, kind, strings.Join(slices.Sorted(maps.Keys(exchanges())), ","))
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// pbxNames names PBXs: main where there is only one, else by their types.
func pbxNames(kinds []string) []string {
	if len(kinds) == 1 {
		return []string{"main"}
	}
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = kind
		if n := slices.Index(kinds, kind); n < i {
			names[i] = fmt.Sprintf("%s-%d", kind, i+1)
		}
	}
	return names
}

// hasPhone tells whether the i-th person has a phone on the j-th of n PBXs: of three, every third one has one on the
// first only, on the second only, and so on through all ways to have any.
func hasPhone(i, j, n int) bool { return (i%(1<<n-1)+1)>>j&1 == 1 }

// yamlPolicy is the preset of the PBX's type, or of each type limited to its PBXs.
func yamlPolicy(names, kinds []string) string {
	if len(kinds) == 1 {
		return "{preset: " + kinds[0] + "}"
	}
	var b strings.Builder
	b.WriteString("\n      preset: " + kinds[0] + "\n      teams_to_pbx:\n")
	presets := policy.Presets()
	for i, kind := range kinds {
		for _, r := range presets[kind].TeamsToPBX {
			fmt.Fprintf(&b, "        - when: {%spbx: [%s]}\n          set: {%s}\n          class: %s\n", when(r.When), names[i], set(r.Set), r.Set.Class)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func when(c policy.TeamsCondition) string {
	out := ""
	for key, words := range map[string][]string{"availability": c.Availability, "activity": c.Activity} {
		if len(words) > 0 {
			out += key + ": [" + strings.Join(words, ", ") + "], "
		}
	}
	return out
}

func set(s policy.SetStatus) string {
	out := fmt.Sprintf("status: %q", s.Name)
	if s.Kind != presence.KindUnknown {
		out += ", status_kind: " + string(s.Kind)
	}
	return out
}

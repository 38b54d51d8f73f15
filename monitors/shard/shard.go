// Package shard divides the members that want to be pushed among the monitors. It is pure: a value
// in, a value out, and equal inputs give equal results.
//
// A shard is a list of at most [Max] members with an identity of its own, carried by at most one
// monitor, because Graph allows one presence subscription of 650 users per application and signed-in
// user (learn:changenotifications-for-presence). A subscription's list cannot be changed without a gap,
// so the assignment is sticky: a joiner takes a free place, a leaver frees one, and nobody moves
// unless their shard has to be given up because fewer monitors can be used than there are shards.
package shard

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Max is how many members Graph allows in one presence subscription.
const Max = 650

// Shard is a list of members.
type Shard struct {
	ID      string
	Members []string // sorted, without repetition
	// Stale says that the shard's subscription has to be made anew anyway, so that a joiner costs
	// it nothing. Assign prefers such shards for joiners, and sets it where the list changed.
	Stale bool
}

// Monitor can carry one shard.
type Monitor struct {
	ID     string
	Usable bool   // authorised and working: carries a shard, or could
	Shard  string // the id of the shard it carries, "" for none
}

// Assignment is what [Assign] decides.
type Assignment struct {
	Shards  []Shard           // sorted by id number; none is empty
	Carrier map[string]string // shard id -> monitor id; every shard has one
	Polled  []string          // members beyond capacity, sorted
	Moved   int               // members that changed from one shard to another
	Spares  int               // usable monitors without a shard
}

// Need is how many monitors carry n members.
func Need(n int) int { return (n + Max - 1) / Max }

// Assign divides members among the usable monitors, starting from the present shards. It takes at
// most [Max] members per shard, opens a shard only when there is no free place left (a monitor more
// than needed stays a spare), and gives one up only when there is no monitor for it: then the
// smallest ones go, which moves the fewest members. Shards of monitors that cannot be used go to
// spares as they are. It changes none of its arguments.
func Assign(present []Shard, monitors []Monitor, members []string) Assignment {
	return assign(present, monitors, members, Max)
}

func assign(present []Shard, monitors []Monitor, members []string, size int) Assignment {
	shards, homeless, was := settle(present, members, size)
	shards, dissolved := keepLargest(shards, monitors)
	homeless = append(homeless, dissolved...)
	slices.Sort(homeless)

	homeless = fill(shards, homeless, size)
	for usable := count(monitors); len(homeless) > 0 && len(shards) < usable; {
		n := min(size, len(homeless))
		shards = append(shards, Shard{ID: unused(shards, present), Members: slices.Clone(homeless[:n]), Stale: true})
		homeless = homeless[n:]
	}

	out := Assignment{Carrier: carry(shards, monitors), Polled: homeless, Spares: count(monitors) - len(shards)}
	for _, s := range shards {
		slices.Sort(s.Members)
		for _, m := range s.Members {
			if from := was[m]; from != "" && from != s.ID {
				out.Moved++
			}
		}
	}
	slices.SortFunc(shards, func(a, b Shard) int { return compareID(a.ID, b.ID) })
	out.Shards = shards
	return out
}

// settle takes leavers out of the present shards, and whatever else has no business there: a member
// of two shards stays in the first, one beyond the size goes. It returns the shards that still have
// members, the members that are in none, and where each member was.
func settle(present []Shard, members []string, size int) (shards []Shard, homeless []string, was map[string]string) {
	was = make(map[string]string, len(members)) // "" = wanted, in no shard yet
	for _, m := range members {
		was[m] = ""
	}
	seen := map[string]bool{}
	for _, s := range present {
		if s.ID == "" || seen[s.ID] {
			continue
		}
		seen[s.ID] = true
		kept := make([]string, 0, min(size, len(s.Members)+8))
		for _, m := range s.Members {
			if at, wanted := was[m]; wanted && at == "" && len(kept) < size {
				was[m] = s.ID
				kept = append(kept, m)
			}
		}
		if len(kept) > 0 {
			shards = append(shards, Shard{ID: s.ID, Members: kept, Stale: s.Stale || len(kept) != len(s.Members)})
		}
	}
	for m, at := range was {
		if at == "" {
			homeless = append(homeless, m)
		}
	}
	return shards, homeless, was
}

// keepLargest gives up the smallest shards while there are more than usable monitors. Of two alike the
// one that a usable monitor carries stays.
func keepLargest(shards []Shard, monitors []Monitor) (kept []Shard, dissolved []string) {
	n := count(monitors)
	if len(shards) <= n {
		return shards, nil
	}
	carried := map[string]bool{}
	for _, m := range monitors {
		if m.Usable {
			carried[m.Shard] = true
		}
	}
	slices.SortStableFunc(shards, func(a, b Shard) int {
		if c := cmp.Compare(len(b.Members), len(a.Members)); c != 0 {
			return c
		}
		if carried[a.ID] != carried[b.ID] {
			if carried[a.ID] {
				return -1
			}
			return 1
		}
		return compareID(a.ID, b.ID)
	})
	for _, s := range shards[n:] {
		dissolved = append(dissolved, s.Members...)
	}
	return shards[:n], dissolved
}

// fill puts the homeless into free places and returns who is left over. Shards whose subscription has
// to be made anew come first, then those with the most room, so that few have to be.
func fill(shards []Shard, homeless []string, size int) []string {
	order := make([]*Shard, len(shards))
	for i := range shards {
		order[i] = &shards[i]
	}
	slices.SortStableFunc(order, func(a, b *Shard) int {
		if a.Stale != b.Stale {
			if a.Stale {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(len(a.Members), len(b.Members)), compareID(a.ID, b.ID))
	})
	for _, s := range order {
		n := min(size-len(s.Members), len(homeless))
		if n <= 0 {
			continue
		}
		s.Members = append(s.Members, homeless[:n]...)
		s.Stale = true
		homeless = homeless[n:]
	}
	return homeless
}

// carry gives every shard a monitor: its own where that can be used, else one that is free.
func carry(shards []Shard, monitors []Monitor) map[string]string {
	out := make(map[string]string, len(shards))
	exists := map[string]bool{}
	for _, s := range shards {
		exists[s.ID] = true
	}
	var free []string
	for _, m := range monitors {
		if !m.Usable {
			continue
		}
		if _, taken := out[m.Shard]; exists[m.Shard] && !taken {
			out[m.Shard] = m.ID
			continue
		}
		free = append(free, m.ID)
	}
	for _, s := range shards {
		if out[s.ID] == "" {
			out[s.ID], free = free[0], free[1:]
		}
	}
	return out
}

func count(monitors []Monitor) int {
	n := 0
	for _, m := range monitors {
		if m.Usable {
			n++
		}
	}
	return n
}

// unused is the id of a new shard: the lowest number that is not taken.
func unused(lists ...[]Shard) string {
	taken := map[string]bool{}
	for _, l := range lists {
		for _, s := range l {
			taken[s.ID] = true
		}
	}
	for n := 1; ; n++ {
		if id := strconv.Itoa(n); !taken[id] {
			return id
		}
	}
}

// compareID orders "2" before "10".
func compareID(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

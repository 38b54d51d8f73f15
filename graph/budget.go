package graph

import (
	"context"
	"fmt"
	"time"
)

// Budget is a limit of requests of one class, per application and tenant.
type Budget struct {
	// Limit is how many requests may leave within any Window. 0: the class's default.
	Limit int
	// Window is the time Limit is about. 0: the class's default.
	Window time.Duration
	// Max is up to where Limit is raised while it is needed and no 429 comes. 0 or below Limit: never raised, but
	// a Budget that is all zero is the default, Max too.
	Max int
}

// Budgets are the limits of a [Client]. Zero fields take the defaults.
type Budgets struct {
	// Reads: presence and getPresencesByUserId. Default 1,500 in 30 s, as the operations' pages say
	// (the page of limits says 10,000: plan for the lower).
	Reads Budget
	// Writes: setPresence, clearPresence, preferred presence, status message. No page names a limit for
	// them. Default 1,200 in 30 s, raised up to 10,000, the limit of the presence service.
	Writes Budget
	// Subscriptions: create, renew, delete. Default 500 in 20 s.
	Subscriptions Budget
	// SubscriptionList: listing subscriptions. Default 25 in 20 s.
	SubscriptionList Budget
	// Directory: listing users. Default 1,000 in 10 s: a listed page costs one of the 3,500 units that
	// the smallest tenant has (learn:throttling-limits).
	Directory Budget

	// ConfirmShare of Reads is kept for confirming reads, which also go ahead of everything. Default 0.2.
	ConfirmShare float64
	// SweepShare of Reads is what the sweep gets, and not more. Default 0.2, and 0.25 in clouds without
	// subscriptions.
	SweepShare float64
}

// DefaultBudgets are the limits for a cloud.
func DefaultBudgets(cloud Cloud) Budgets {
	b := Budgets{
		Reads:            Budget{Limit: 1500, Window: 30 * time.Second},
		Writes:           Budget{Limit: 1200, Window: 30 * time.Second, Max: 10000},
		Subscriptions:    Budget{Limit: 500, Window: 20 * time.Second},
		SubscriptionList: Budget{Limit: 25, Window: 20 * time.Second},
		Directory:        Budget{Limit: 1000, Window: 10 * time.Second},
		ConfirmShare:     0.2,
		SweepShare:       0.2,
	}
	if info, err := cloud.Info(); err == nil && !info.Subscriptions {
		b.SweepShare = 0.25
	}
	return b
}

// withDefaults fills in what was left open and checks the rest.
func (b Budgets) withDefaults(cloud Cloud) (Budgets, error) {
	d := DefaultBudgets(cloud)
	for _, f := range []struct {
		key string
		own *Budget
		def Budget
	}{
		{"reads", &b.Reads, d.Reads},
		{"writes", &b.Writes, d.Writes},
		{"subscriptions", &b.Subscriptions, d.Subscriptions},
		{"subscription_list", &b.SubscriptionList, d.SubscriptionList},
		{"directory", &b.Directory, d.Directory},
	} {
		if *f.own == (Budget{}) {
			*f.own = f.def
		}
		if f.own.Limit == 0 {
			f.own.Limit = f.def.Limit
		}
		if f.own.Window == 0 {
			f.own.Window = f.def.Window
		}
		if f.own.Limit < 1 || f.own.Window < 0 {
			return b, fmt.Errorf("graph: budgets.%s: %d requests in %v cannot be: give a limit of at least 1 and a window", f.key, f.own.Limit, f.own.Window)
		}
	}
	if b.ConfirmShare == 0 {
		b.ConfirmShare = d.ConfirmShare
	}
	if b.SweepShare == 0 {
		b.SweepShare = d.SweepShare
	}
	if !(b.ConfirmShare > 0 && b.SweepShare > 0 && b.ConfirmShare+b.SweepShare < 1) {
		return b, fmt.Errorf("graph: budgets: confirm_share %v and sweep_share %v must be above 0 and leave something for other reads", b.ConfirmShare, b.SweepShare)
	}
	return b, nil
}

// Priority says how urgent a call is, within its class.
type Priority uint8

// The priorities. Reads go in the order confirm, normal, sweep. Writes go in the order clear, set, renew:
// clearing is known by the call, a set counts as a renewal with PriorityRenew.
const (
	PriorityNormal  Priority = iota
	PriorityConfirm          // a confirming read: ahead of everything
	PrioritySweep            // the periodic read of everybody: inside its share
	PriorityRenew            // a write that only prolongs what stands
)

type priorityKey struct{}

// WithPriority marks the calls made with ctx.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, p)
}

// PriorityOf returns what [WithPriority] put there, [PriorityNormal] without it.
func PriorityOf(ctx context.Context) Priority {
	p, _ := ctx.Value(priorityKey{}).(Priority)
	return p
}

// class is what shares a budget and a pause.
type class uint8

const (
	classRead class = iota
	classWrite
	classSubscription
	classList
	classDirectory
	classCount
)

// String is the class as a metric label.
func (c class) String() string {
	switch c {
	case classRead:
		return "read"
	case classWrite:
		return "write"
	case classSubscription:
		return "subscription"
	case classList:
		return "subscription_list"
	case classDirectory:
		return "directory"
	default:
		return "none"
	}
}

// Lanes of the classes, most urgent first.
const (
	laneOnly = 0

	laneConfirm, laneNormal, laneSweep = 0, 1, 2
	laneClear, laneSet, laneRenew      = 0, 1, 2
)

// readLane is the lane of a read made with ctx.
func readLane(ctx context.Context) int {
	switch PriorityOf(ctx) {
	case PriorityConfirm:
		return laneConfirm
	case PrioritySweep:
		return laneSweep
	default:
		return laneNormal
	}
}

// setLane is the lane of a set made with ctx.
func setLane(ctx context.Context) int {
	if PriorityOf(ctx) == PriorityRenew {
		return laneRenew
	}
	return laneSet
}

// newGates makes the gate of each class.
func newGates(b Budgets, m *metrics) (gates [classCount]*gate) {
	normal := 1 - b.ConfirmShare - b.SweepShare
	gates[classRead] = newGate(b.Reads, pacedBurst, []float64{laneConfirm: 1, laneNormal: normal, laneSweep: b.SweepShare}, m.gate(classRead))
	gates[classWrite] = newGate(b.Writes, pacedBurst, []float64{laneClear: 1, laneSet: 1, laneRenew: 1}, m.gate(classWrite))
	gates[classSubscription] = newGate(b.Subscriptions, pacedBurst, []float64{laneOnly: 1}, m.gate(classSubscription))
	gates[classList] = newGate(b.SubscriptionList, wideBurst, []float64{laneOnly: 1}, m.gate(classList))
	gates[classDirectory] = newGate(b.Directory, pacedBurst, []float64{laneOnly: 1}, m.gate(classDirectory))
	return gates
}

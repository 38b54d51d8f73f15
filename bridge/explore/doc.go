// Package explore exhausts small worlds around the engine's real step function ([bridge.Step]): one member, one or two
// endpoints, Teams and a PBX as they are (not as the engine believes them to be), people on both sides, faults, and
// everything that is under way. It visits every state that can be reached, breadth first, checks the properties of the
// reconciliation in each state and step and on the whole graph, and tells a counter-example as the shortest story that
// leads to it.
//
// # What stands for time
//
// There is no clock. A timer of the record is pending or not, and may fire whenever it is pending, apart from the orders
// that real durations guarantee. These orders are assumed, and nothing else:
//
//   - Deadline fires after its request was answered or failed, after what may still land landed or was lost, and after
//     what landed in Teams shows (request 10 s, landing 30 s more; what shows late does so within seconds); on a PBX after
//     Hold, which began with the same write (3 s).
//   - Settle fires after what the answered write did shows (R7).
//   - Renew fires when no Settle is pending in Teams (half a lease; a few seconds).
//   - Our session ends by itself only when a renewal failed, when the bridge was dead or the session is one of a former
//     life; Lapse fires after it ended, and after Renew.
//   - WokenEnd (a lease) and Forget (hours) fire when nothing short is under way: no notification, event, request, late
//     write or short timer. Forget is later than WokenEnd and than the end of a session of a former life.
//
// # Whether it can fail
//
// [bridge.Rules.Without] switches one rule off, and [Rules] names the worlds in which its counter-example shows.
//
// # What is left out
//
// See DESIGN.md. More than two sessions of the person's own, more than a handful of states on each side, the write budget
// (grants), preferred presences that we set, a PBX that is restored from a backup, a periodic reading that takes its time, a late write that
// shows later still, a session of a former life that is set after the bridge began, and a change of policy. A person's pick that equals what
// shows, or what a write of ours is about to show, leaves no trace on a PBX without versions and authors, and is not a
// choice there.
package explore

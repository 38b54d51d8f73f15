// Package monitors sees to it that every member of an account has a Teams presence.
//
// Graph pushes presence only to signed-in users: a monitor is an ordinary Entra user that signed in
// once for the bridge, and carries one subscription of at most 650 members
// (learn:changenotifications-for-presence). Package shard divides the members among the monitors; here
// each monitor's subscription is created, renewed, adopted and made anew, and its loss is noticed.
// Whoever no subscription covers is polled, and everybody is read by the sweep, so that nobody is ever
// staler than the sweep's interval. Coverage says for each member which of these holds, and why.
//
// The main path: [Manager.Run] loads the stored monitors, starts one goroutine per monitor
// (monitor.go: a pure decision, then one action) and the sweep (sweep.go). [Manager.SetMembers]
// re-computes who is in which shard and wakes the monitors concerned. What is learnt goes to the
// engine through the [Sink].
//
// A monitor that Entra refuses needs a person; its state says what to do, its members go to a spare
// or are polled, and nothing stops. Everything else is tried again, with growing pauses.
package monitors

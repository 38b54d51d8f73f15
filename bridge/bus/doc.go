// Package bus is the bridge's memory and its mail: the streams on which what Graph posted waits to
// be processed, the buckets that hold the members' records, the feeds that tell what was seen and
// decided, and the requests that go to the owner of an account. It is the only package that knows
// NATS JetStream; DESIGN.md in this folder says what it guarantees and why.
//
// [Open] starts a server inside the process (nothing listens), or connects to an external cluster
// when [Config.URL] is set. The code path behind it is the same:
//
//	receiver ── StoreNotification ──▶ GRAPH_IN ── Consume ──▶ engine ── Put ──▶ state
//	                                                            ├── PublishObservation ──▶ PRESENCE
//	console ── Command ──▶ cmd.v1.<account> ── ServeCommands ───┘── PublishDecision ─────▶ DECISIONS
//
// [Bus.Join] takes a process's place among several replicas, whose words to each other decide who owns an
// account and who has to stand aside.
//
// What was acknowledged here is on disk (or on a quorum), and is handed out until somebody says
// that it was dealt with. Nothing here waits without bound or grows without bound: what cannot be
// stored is refused with an error that says whether the store is full ([ErrFull]), the disk is
// ([ErrNoSpace]), or nobody answered ([ErrUnavailable]).
package bus

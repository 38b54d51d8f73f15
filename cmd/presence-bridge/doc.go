// Command presence-bridge keeps presence the same in Microsoft Teams and on a PBX.
//
// # A tour of the packages
//
// Teams to PBX. Graph posts to package webhook, which checks who may speak, stores the body through package
// bridge/bus and says 202. The owner of the account (cmd/internal/app: intake.go) takes it off the bus, has
// package graph/notify verify and decrypt it, and pushes what it says into the account's bridge.Engine. The engine
// folds it into the member's bridge.Record with one pure function, bridge.Step, stores the record, and carries the
// effects out: a connector (bridge/pbx/micollab) brings the PBX to the decided state.
//
// PBX to Teams. The connector watches its PBX and hands events to the same engine; bridge.Step decides, and the
// effects set, renew or clear the bridge's presence session through bridge/teams and package graph.
//
// Around it. Package monitors sees to it that every member is covered by a subscription or polled, and sweeps
// everybody. bridge/directory says who is who. bridge/policy says what a state means on the other side.
// bridge/console is the admin listener. Package graph/graphsim and bridge/pbx/pbxsim are the worlds outside, for
// the demo and the tests. cmd/internal/app puts it together, cmd/internal/cli is the command line.
//
// cmd/internal/verify checks an installation, cmd/internal/setup prints what Entra needs, and cmd/internal/bench
// measures the targets. bridge/explore exhausts small worlds around bridge.Step, and
// bridge/replay runs recorded days through two policies with it.
// bridge/explain says why somebody looks as they do, and bridge/scenario holds the behaviour that people feel as stories,
// which tests play.
//
// Read bridge/record.go and bridge/step.go first: everything else serves them.
package main

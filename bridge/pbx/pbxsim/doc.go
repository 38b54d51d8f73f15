// Package pbxsim is a simulated PBX behind the MiCollab-style endpoint (openapi.yaml describes it, and is
// served at /openapi.yaml), over real HTTP, from the PBX's point of view. It shares no
// code with the connector it is there to try: it has its own wire types and its own idea of the rules.
//
// Three parties meet in it. The bridge comes in over /v1, as any client would. People are moved by hand
// ([Sim.StartCall], [Sim.Pick], ...) or left to themselves ([Sim.NewPeople]). Tests and demonstrations
// ask what the PBX itself knows ([Sim.Presence], [Sim.Chosen], [Sim.LastWriter]), make it cruel
// ([Sim.SetFaults]), restart it ([Sim.Restart]) and listen to every change ([Config.OnChange]).
//
// # The rules it keeps
//
//   - version grows with every change of status or message, of the line too with
//     [Config.CountLineInVersion]; changed_at and changed_by are about the status alone.
//   - A PUT without message keeps it; one that changes nothing is 200 without event or new version.
//   - If-Match is compared first (RFC 9110 section 13.2.1: before the content is acted upon), so a stale
//     version is 412 even if the status is unknown or already shows.
//   - Event ids carry an epoch that changes with every restart. A stream that cannot resume, the one
//     without Last-Event-ID included, begins with `reset`, whose id can be resumed from.
//   - Picking by hand the status that already shows leaves no trace, as on real PBXs.
//
// # The control API
//
// Everything that a test does in Go can be done over HTTP, so that the simulator can be a process of its
// own. It has no authentication: it is a simulator, and belongs on loopback. USER is an id, an e-mail
// address or an extension. Bodies and answers are JSON; durations are strings such as "1.5s".
//
//	GET    /sim/users                    everybody: presence, chosen, last writer (?q=TEXT filters)
//	POST   /sim/users                    {"id","email","extension","display_name"}: somebody joins
//	GET    /sim/users/USER               one of them
//	DELETE /sim/users/USER               somebody leaves
//	POST   /sim/users/USER/ring          the phone rings
//	POST   /sim/users/USER/stop-ringing  the caller gave up
//	POST   /sim/users/USER/call          a call begins (a ringing one is answered); a second one overlaps
//	POST   /sim/users/USER/hold          the call is held
//	POST   /sim/users/USER/resume        and taken up again
//	POST   /sim/users/USER/end           a call ends
//	POST   /sim/users/USER/offline       the phone is unplugged
//	POST   /sim/users/USER/online        and comes back
//	POST   /sim/users/USER/pick          {"status","message"?}: a status is picked by hand
//	GET    /sim/statuses                 what can be picked
//	GET    /sim/faults                   the present faults
//	PUT    /sim/faults                   {"preset":"none|some|cruel"}, or single faults (see [Faults])
//	GET    /sim/people                   what the simulated people do
//	PUT    /sim/people                   {"state":"run|pause|stop","rate":0.1,"mean_call":"20s"}
//	GET    /sim/stats                    counters
//	POST   /sim/restart                  {"lose_state":false,"down":"0s"}
//	POST   /sim/cut                      all event streams break
//	POST   /sim/stall                    {"on":true}: streams stay open and fall silent
package pbxsim

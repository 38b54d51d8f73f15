// Package threecxsim is a simulated 3CX (v20): its token service, the part of its configuration API (XAPI, OData v4)
// that is about users, and its Call Control API with the WebSocket, over real HTTP and from the PBX's point of view.
// It shares no code with the connector that it is there to try.
//
// Three parties meet in it. The bridge comes in as any API client would. People are moved by hand ([Sim.StartCall],
// [Sim.Pick], ...) or left to themselves ([Sim.NewPeople]). Tests and demonstrations ask what the PBX itself knows
// ([Sim.Presence], [Sim.Chosen]), make it cruel ([Sim.SetFaults]), restart it ([Sim.Restart]), take rights and licences
// away ([Sim.SetLimits]) and listen to every change ([Config.OnChange]).
//
// # What it does as a 3CX does (facts: 3CX)
//
//   - A client has one token at a time: a new one makes the one before invalid, and breaks WebSockets that were opened
//     with it. expires_in counts minutes before version 20.0.9 and seconds since.
//   - Lists are paged by $top and $skip, with @odata.count and without a next link. $top is cut to the PBX's own limit.
//   - Picking the profile that already shows leaves no trace. A profile has a message of its own. Nobody is told when a
//     profile changes.
//   - A held call is Connected like any other.
//   - Frames carry attached_data null; an upsert often comes twice. Only extensions on the client's list are told of.
//   - In a PATCH of ForwardingProfiles, what a profile does not say becomes its default.
//
// # The control API
//
// So that it can be a process of its own. It has no authentication: it is a simulator, and belongs on loopback. USER is
// an id, an e-mail address or an extension.
//
//	GET  /sim/users                    everybody: line, profile, message, chosen
//	GET  /sim/users/USER               one of them
//	POST /sim/users/USER/ring          the phone rings; stop-ringing: the caller gave up
//	POST /sim/users/USER/call          a call begins (a ringing one is answered); dial: one is being dialled
//	POST /sim/users/USER/hold          the call is held; resume: and taken up again; end: a call ends
//	POST /sim/users/USER/offline       the phone is unplugged; online: and comes back
//	POST /sim/users/USER/pick          {"status","message"?}: a profile is picked by hand
//	PUT  /sim/faults                   {"preset":"none|some|cruel"}
//	PUT  /sim/limits                   what the client may not do (see [Limits])
//	GET  /sim/stats                    counters
//	POST /sim/restart                  {"lose_state":false,"down":"0s"}
//	POST /sim/cut                      all WebSockets break
//	POST /sim/stall                    {"on":true}: they stay open and fall silent
package threecxsim

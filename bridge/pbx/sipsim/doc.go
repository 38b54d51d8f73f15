// Package sipsim is a simulated SIP PBX with a presence server: SUBSCRIBE and NOTIFY (RFC 6665) for the packages dialog
// (RFC 4235) and presence (RFC 3856), for extensions and for one resource list of all (RFC 4662), PUBLISH (RFC 3903), and
// digest authentication, over UDP and TCP. It is written from the RFCs from the server's side and shares no code with
// the connector that it is there to try; the SIP stack alone is the same.
//
// Three parties meet in it. The bridge comes in as any SIP user would. People are moved by hand ([Sim.StartCall],
// [Sim.Pick], ...) or left to themselves ([Sim.NewPeople]); their phones have documents of their own, beside which the
// bridge's stands. Tests and demonstrations ask what the PBX itself knows ([Sim.Presence], [Sim.Chosen]), make it cruel
// ([Sim.SetFaults]), restart it ([Sim.Restart]), and listen to every change ([Config.OnChange]).
//
// # The control API
//
// So that it can be a process of its own ([Config.Control]). It has no authentication: it belongs on loopback.
//
//	GET  /sim/users                    everybody: line, status, message, chosen
//	GET  /sim/users/USER               one of them
//	POST /sim/users/USER/ring          the phone rings; stop-ringing: the caller gave up
//	POST /sim/users/USER/call          a call begins (a ringing one is answered)
//	POST /sim/users/USER/hold          the call is held; resume: and taken up again; end: it ends
//	POST /sim/users/USER/offline       the phone is unplugged; online: and comes back
//	POST /sim/users/USER/pick          {"status","message"?}: a status is picked by hand
//	PUT  /sim/faults                   {"preset":"none|some|cruel"}
//	GET  /sim/stats                    counters
//	POST /sim/restart                  {"lose_state":false,"down":"0s"}
//	POST /sim/cut                      all connections break
package sipsim

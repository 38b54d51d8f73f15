// Package graphsim is a simulated Microsoft 365 tenant over real HTTPS: its login service, as much of
// Graph as presence needs, and its people. It is the other side's view, written from Microsoft's
// documentation alone: it shares no parsing and no crypto with the packages that talk to Graph, so
// that a mistake made there is not made here too. It is cruel on request.
//
// One [Sim] is one tenant. [Start] listens, with a certificate authority of its own; [New] does not,
// for tests in process: give its Handler to a client, its Delivery a transport, and all of it runs in
// the virtual time of a testing/synctest bubble.
//
// # What Teams shows
//
// A person has a session per Teams client, and one per application that called setPresence. While
// there is a session, the status picked by hand (preferred presence) shows; else the highest of
// DoNotDisturb, Busy, Available, Away does; without a session, Offline. Which of two Busy sessions
// shows nobody documents: [Tie] says. A session that an application set expires, and fades while it
// is Available. A change that can be seen, and only such a one, is notified, whoever made it.
//
// [Sim.Shown] is what shows, whatever lag reads have; [Sim.Organic] is what would show without any
// application; [Sim.Chosen] what was picked by hand; [Sim.AppSession] what the application holds.
//
// # Cruelty
//
// [Faults] are shares and times, drawn from the seed. [None], [Some] and [Cruel] are presets, and
// [Sim.SetFaults] changes them at any time; a late write or notification that was set going before
// still arrives, at most LandWithin or LateBy later. Stats().Pending and Stats().Notifications.Waiting
// say when nothing is under way any more.
//
// # The control API
//
// It is on the same listener, under /sim/, speaks JSON, and asks nobody who they are: keep the
// listener on loopback. Errors are {"error":"…"} with 400 or 404.
//
//	GET    /sim/                     tenant, application, secret, addresses, CA, people, faults
//	GET    /sim/ca.pem               the authority to trust
//	GET    /sim/stats                counts, as Stats
//	GET    /sim/people?match=        everybody's State
//	POST   /sim/people               a joiner, as Person
//	GET    /sim/people/{user}        one State, by object id or UPN
//	POST   /sim/people/{user}        {"do":"call"}: sign-in, sign-out, available, away, call, conference, call-end,
//	                                 meeting, meeting-end, presenting, presenting-end, appear-offline, in-office,
//	                                 pick {"pair":"Busy","for":"1h"}, pick-reset, out-of-office {"text":"…"},
//	                                 client {"pair":"Busy/InACall","client":"mobile"}, close {"client":"mobile"}
//	DELETE /sim/people/{user}        a leaver
//	GET    /sim/driver               what the simulated people are at
//	PUT    /sim/driver               {"rate":0.1,"paused":false}: changes per minute, as a fraction of the people
//	GET    /sim/faults               the faults
//	PUT    /sim/faults               {"preset":"some","drop":0.01,"late_by":"20s"}; what is not mentioned stays
//	GET    /sim/devicecodes          device codes that wait for a person
//	POST   /sim/devicecodes/{code}   {"approve":"presence1@contoso.example"}, {"decline":true} or {"expire":true}
//	GET    /sim/subscriptions        live subscriptions
//	POST   /sim/subscriptions/{id}   {"do":"kill"} (silently), "revive", {"do":"slow","by":"50s"}, or "challenge"
//	                                 (reauthorizationRequired)
//	PUT    /sim/tokens/{who}         {"code":50173}: every token is refused to that user or application, 0 ends it;
//	                                 {"revoke":true}: their refresh tokens end
//	POST   /sim/keys                 {"retire":true}: sign with a new key, and stop publishing the old ones
//
// People approve device codes on the page /devicelogin too.
package graphsim

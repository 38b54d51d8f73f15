// Package micollab is the connector for PBXs behind the MiCollab-style endpoint that openapi.yaml in
// this folder describes: REST with bearer tokens, optimistic versions, and server-sent events that can be
// resumed. MiCollab itself has no public presence API; a site puts a small adapter behind this one.
//
// # Who chose a status
//
// The endpoint says `user` or `api:<client>`. Our own client's name is not configured: it is learnt, from
// the answer to a conditional write of ours of which the versions prove that it was we who changed the
// status ([Client.Apply]). Until then every `api:` counts as ours, so that an installation whose memory was
// lost recognises the values that it had written. Afterwards other clients are other programs. What was
// learnt can be kept with [Config.LearntClient].
//
// # The watch
//
// A connection that resumed delivers nothing twice that was acknowledged by the return of deliver, and
// [pbx.EventSeen] in its beginning; one that could not resume begins with [pbx.EventReset]. Nothing that
// the PBX sends ends the watch. An event that cannot be read is counted and answered with a reset (at
// most one a minute), since what it said is lost.
//
// The event stream has a reader of its own and does not use a client library: a heartbeat is a comment,
// and tmaxmax/go-sse does not hand comments over, so silence could not be told from quiet; and it ends the
// connection at an event above its limit, which would meet the same event again after resuming, for ever.
package micollab

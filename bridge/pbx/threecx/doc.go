// Package threecx is the connector for 3CX, version 20: statuses through its configuration API (XAPI, OData v4), calls
// through its Call Control API. What is known of both is in facts: 3CX; older versions have no such interface.
//
// # Statuses
//
// A status is a forwarding profile, by the name it has on the wire whatever a site calls it: Available, Away, Out of
// office (which people see as Do Not Disturb, and is of that kind), Custom 1 and Custom 2. The customs, and any profile
// under another name, are the person's own: their kind is custom, over which nothing is ever written. Each profile has
// its own message; one of ours is taken back when another profile is set, unless somebody changed it since. A 3CX has
// neither versions nor authors, and tells nobody when a profile changes: everybody is read every [Config.PollInterval],
// and what differs becomes events. A message that was changed by hand is seen with the next snapshot.
//
// # Lines
//
// The WebSocket says which participant of which extension changed, not how: that is read. Connected and Dialing are
// in-call, and so is a held call, which cannot be told apart; an extension whose phone is not registered is offline. What
// a frame missed is found by reading every call after a gap in the sequence, after each connection, and every
// [Config.Reconcile]. Between two legs of a transfer a person has no call for a moment: the line goes idle, or back to
// ringing, only after [Config.Grace]. A participant that rings for 3 minutes or talks for 6 hours is taken for one that the PBX
// forgot. Extensions that the API client may not monitor have an unknown line, which is a warning.
//
// # Tokens
//
// A client id has one token at a time, so everything shares one, fetched by one request at a time, early, and once more
// when it is refused. Who else uses the same client id ends our tokens, which is a warning too.
package threecx

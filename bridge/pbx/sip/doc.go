// Package sip is the connector for PBXs and presence servers that speak SIP: it watches calls (the dialog event
// package, RFC 4235) and presence (RFC 3856) by SUBSCRIBE, for each extension or by a resource list (RFC 4662), and
// publishes by PUBLISH (RFC 3903). DESIGN.md says why it is as it is.
//
// # Our own document
//
// What the bridge asserts is a document of its own beside those of the person's phones (Capabilities.OwnDocument): a
// tuple and a person whose ids begin with "prbridge-". The presence server composes all of them into what watchers
// see, and that comes back to us. By the ids our part is told from theirs, in this life of the process or any other:
// [pbx.State] holds the person's own status only, so an echo cannot be taken for a choice. It is leased ([Config.Lease]),
// renewed at half-life while the PBX is watched, and ends by itself when the bridge does.
//
// # Extensions
//
// SIP has no directory. Who there is comes from a file ([User]) or from the resource list.
//
// # What a person chose
//
// Activities of RPID (RFC 4480) are statuses of the same name, with two exceptions: busy with a note that says do not
// disturb is "busy", of the kind dnd, and busy without one is "busy-without-note". Nothing chosen, and reachable, is
// "available". Of several activities the weightiest counts. A person without any document has no status: an empty
// notification says that the PBX knows nothing.
package sip

// Package scenario holds the behaviour that people feel as stories that a support person can read, in testdata/*.txt.
// `go test` plays each of them against the real engine and the real clients of Graph and of the PBX, with a simulated
// tenant and simulated PBXs around them, in virtual time, so that the times in a story are the real ones.
//
// # How a story is written
//
// A line is one step. What comes before the first step says what the story is about and which PBXs it is about:
//
//	Scenario: a call on the phone shows in Teams
//	PBX: any
//
//	Given Anna has phone 1001 on main
//	  And Anna is signed in to Teams
//	 When at 10:00:00 phone 1001 is in a call
//	 Then within 5s Teams shows Anna as Busy (in a call)
//	 When at 10:02:00 phone 1001 ends the call
//	 Then within 10s Teams shows Anna as Available
//	Finally Teams showed Anna as Available, Busy (in a call), Available
//
// Given is what is so before the bridge starts; with the first When it has been running for hours and has seen everybody. When is what
// people, machines and the bridge's own administrator do. Then is looked at right away, or "within" a time. Finally is
// looked at when the story is over and two more minutes have passed: from what the simulators have seen all along, which
// is how one says that something never happened. "And" is one more of the same. "at" waits for a time of the
// day, "after" for a while. A line that begins with # says something to the reader.
//
// "PBX: any" plays the story on every kind of PBX behind the MiCollab-style endpoint: "versions" says who chose a status, and
// counts its changes; "lines" counts the calls too; "plain" says neither. Otherwise the kinds are named, with commas. "3cx" is
// a 3CX, on which In a call is the profile Away, and Do not disturb the profile Out of office. "sip" is a SIP PBX with a presence
// server: calls are what it says about dialogs (RFC 4235), a status is an activity of RPID (RFC 4480) in a document of the
// person's, and what the bridge sets is a document of its own beside that.
//
// Without a line "Policy:" the preset of the kind of PBX holds. "meetings" has meetings show on the phone as well, which in the
// preset micollab mean nothing. "messages" copies people's own status messages both ways, "notices" gives a call a message on
// the other side, and with "groups" three groups of Entra have opted out: Works council, Reception and Doctors.
//
// The words of a story are those of [Phrases]: PERSON is a first name, PHONE an extension, PRESENCE what Teams shows, in
// the words of [Presences], STATUS what a phone shows, PBX main or branch, GROUP a group of Entra, N a number, TEXT a message, and LIST several presences or
// statuses with commas.
package scenario

// Package simkit is what the simulated PBXs have in common: an agenda of what happens later ([Agenda]), people who call
// and pick statuses by themselves ([Crowd]), chance ([Dice]) and the checks of faults, an HTTP server that vanishes and
// comes back at its address ([Server]) with a CA of its own, the hook that is told of changes ([Queue]), and the control
// interface that two of them share ([Control]).
//
// It knows no PBX and no protocol of one: a simulator shares neither parsing nor cryptography of the wire with what it is
// there to try, and nothing but simulators and tests imports this package.
package simkit

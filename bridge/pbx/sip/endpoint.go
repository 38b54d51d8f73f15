package sip

import (
	"strings"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// endpoint is what is known of one extension.
type endpoint struct {
	person

	calls     calls
	presence  presenceView
	hasDialog bool // the PBX has the dialog package, as far as is known
}

// fold takes a document in, whatever it is about. An empty one says that the PBX knows nothing: what was known before
// is no longer true. gap asks for a full document.
func (e *endpoint) fold(event string, body []byte) (gap bool, err error) {
	empty := len(strings.TrimSpace(string(body))) == 0
	if event == eventPresence {
		if empty {
			e.presence = presenceView{}
			return false, nil
		}
		v, err := parsePIDF(body)
		if err != nil {
			return false, err
		}
		e.presence = v
		return false, nil
	}
	if empty {
		e.calls = calls{}
		return false, nil
	}
	info, err := parseDialogInfo(body)
	if err != nil {
		return false, err
	}
	return e.calls.fold(info), nil
}

// forget makes one side unknown.
func (e *endpoint) forget(event string) {
	if event == eventPresence {
		e.presence = presenceView{}
	} else {
		e.calls = calls{}
	}
}

// state is what is known, in the contract's words. The status is the person's own, beside what we publish.
func (e *endpoint) state() pbx.State {
	return pbx.State{Line: e.line(), Status: e.presence.status, Message: e.presence.message}
}

// line is the call state: what the calls say, and that a phone which can be reached in no way is offline. A PBX without
// the dialog package (Cisco's) says in the presence document that somebody is on the phone.
func (e *endpoint) line() presence.Line {
	line := e.calls.line()
	switch {
	case line != presence.LineUnknown && line != presence.LineIdle:
		return line
	case e.presence.closed:
		return presence.LineOffline
	case line == presence.LineIdle || e.hasDialog:
		return line
	case e.presence.onPhone:
		return presence.LineInCall
	case e.presence.open:
		return presence.LineIdle
	}
	return presence.LineUnknown
}

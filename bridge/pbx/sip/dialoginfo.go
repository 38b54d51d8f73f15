package sip

import (
	"fmt"
	"strconv"
	"strings"

	"presencebridge/bridge/presence"
)

// maxDialogs is more calls than anybody has at a time.
const maxDialogs = 256

// dialogInfo is one document of the dialog package (RFC 4235 section 4.1).
type dialogInfo struct {
	version uint64
	full    bool
	dialogs []dialog
}

// dialog is one call of somebody's.
type dialog struct {
	id         string
	state      string // trying, proceeding, early, confirmed, terminated
	recipient  bool   // they were called
	initiator  bool   // they call
	held       bool
	terminated bool
}

func parseDialogInfo(body []byte) (dialogInfo, error) {
	root, err := parseXML(body, maxDocument)
	if err != nil {
		return dialogInfo{}, err
	}
	if root.name != "dialog-info" {
		return dialogInfo{}, fmt.Errorf("%w: its root is %q instead of dialog-info", errDocument, clip(root.name))
	}
	version, err := strconv.ParseUint(strings.TrimSpace(root.attr("version")), 10, 64)
	if err != nil {
		return dialogInfo{}, fmt.Errorf("%w: its version is no number", errDocument)
	}
	info := dialogInfo{version: version, full: !strings.EqualFold(root.attr("state"), "partial")}
	for _, e := range root.all("dialog") {
		if len(info.dialogs) == maxDialogs {
			return dialogInfo{}, fmt.Errorf("%w: more than %d dialogs", errDocument, maxDialogs)
		}
		info.dialogs = append(info.dialogs, readDialog(e))
	}
	return info, nil
}

func readDialog(e *element) dialog {
	d := dialog{
		id:        e.attr("id"),
		recipient: strings.EqualFold(e.attr("direction"), "recipient"), initiator: strings.EqualFold(e.attr("direction"), "initiator"),
	}
	if st := e.first("state"); st != nil {
		d.state = strings.ToLower(strings.TrimSpace(st.text))
	}
	d.terminated = d.state == "terminated"
	if local := e.first("local"); local != nil {
		d.held = rendersNothing(local)
	}
	return d
}

// rendersNothing tells whether the phone's own side says that it does not render: it holds the call (RFC 4235
// section 4.1.6.1 with the feature tag of RFC 3840 and RFC 4579's sip.rendering).
func rendersNothing(local *element) bool {
	for _, target := range local.all("target") {
		for _, p := range target.all("param") {
			if strings.EqualFold(p.attr("pname"), "+sip.rendering") && strings.EqualFold(p.attr("pval"), "no") {
				return true
			}
		}
	}
	return false
}

// calls follows the documents of one subscription, or of one resource of a list.
type calls struct {
	known   bool // a full document came
	synced  bool // one came in the present dialog, whose versions begin anew
	version uint64
	dialogs map[string]dialog
}

// fold takes a document in. A gap means that something was missed: a full one must be asked for (RFC 4235 section 4.3).
func (c *calls) fold(info dialogInfo) (gap bool) {
	switch {
	case info.full && (!c.synced || info.version >= c.version):
		c.dialogs = map[string]dialog{}
	case info.full, c.synced && info.version <= c.version:
		return false // older than what is known
	case !c.synced, info.version != c.version+1:
		return true
	}
	c.known, c.synced, c.version = true, true, info.version
	for i, d := range info.dialogs {
		if d.id == "" {
			d.id = "#" + strconv.Itoa(i)
		}
		if d.terminated {
			delete(c.dialogs, d.id)
		} else if len(c.dialogs) < maxDialogs {
			c.dialogs[d.id] = d
		}
	}
	return false
}

// line is what the calls amount to. Somebody who is ringing while they talk is in a call; a call that they make
// counts from the first digit on, since they are at the phone.
func (c *calls) line() presence.Line {
	if !c.known {
		return presence.LineUnknown
	}
	line := presence.LineIdle
	for _, d := range c.dialogs {
		switch {
		case d.state == "confirmed" && !d.held, d.state != "confirmed" && d.initiator:
			return presence.LineInCall
		case d.state == "confirmed":
			line = presence.LineOnHold
		case line == presence.LineIdle:
			line = presence.LineRinging
		}
	}
	return line
}

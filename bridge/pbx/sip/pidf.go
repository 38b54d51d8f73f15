package sip

import (
	"encoding/xml"
	"fmt"
	"strings"

	"presencebridge/bridge/presence"
)

// The namespaces of presence documents.
const (
	nsPIDF = "urn:ietf:params:xml:ns:pidf"            // RFC 3863
	nsDM   = "urn:ietf:params:xml:ns:pidf:data-model" // RFC 4479
	nsRPID = "urn:ietf:params:xml:ns:pidf:rpid"       // RFC 4480
)

// ownPrefix is what the ids of our own tuples and persons begin with, in every life of every bridge: a document of
// ours is never taken for a person's, even when nobody remembers having published it.
const ownPrefix = "prbridge-"

// presenceView is what a presence document says about a person, our own part aside.
type presenceView struct {
	status  presence.Status // zero: nobody says
	message string
	open    bool // some way to reach the person is open
	closed  bool // all are closed, and there is one
	onPhone bool // the activity on-the-phone is among theirs
	own     bool // a part of ours is in it
}

// parsePIDF reads a document (RFC 3863), with persons (RFC 4479) and activities (RFC 4480). What is in unknown
// namespaces is passed over.
func parsePIDF(body []byte) (presenceView, error) {
	root, err := parseXML(body, maxDocument)
	if err != nil {
		return presenceView{}, err
	}
	if root.name != "presence" {
		return presenceView{}, fmt.Errorf("%w: its root is %q instead of presence", errDocument, clip(root.name))
	}
	var v presenceView
	var p parts
	for _, e := range root.children {
		if !known(e.space) {
			continue
		}
		switch e.name {
		case "tuple", "person", "device":
			if !strings.HasPrefix(e.attr("id"), ownPrefix) {
				p.add(e)
				continue
			}
			// Kamailio shows a closed tuple in place of a document that just ended.
			var own parts
			own.add(e)
			v.own = v.own || own.open > 0 || e.name == "person"
		}
	}
	v.open, v.closed = p.open > 0, p.open == 0 && p.closed > 0
	v.status, v.message, v.onPhone = p.choice(v.open)
	return v, nil
}

// known tells whether a namespace is one of presence; documents of drafts had others below the same root.
func known(space string) bool { return space == "" || strings.HasPrefix(space, nsPIDF) }

// parts gathers what tuples and persons say.
type parts struct {
	open, closed int
	notes        []string
	acts         []string
}

func (p *parts) add(e *element) {
	if e.name == "tuple" {
		p.basic(e)
	}
	p.gather(e, 0)
}

func (p *parts) basic(tuple *element) {
	status := tuple.first("status")
	if status == nil {
		return
	}
	basic := status.first("basic")
	if basic == nil {
		return
	}
	switch strings.ToLower(strings.TrimSpace(basic.text)) {
	case "open":
		p.open++
	case "closed":
		p.closed++
	}
}

// gather finds notes and activities at any depth: RFC 4480 puts them below the person, drafts and phones below the
// tuple or its status.
func (p *parts) gather(e *element, depth int) {
	for _, c := range e.children {
		if !known(c.space) {
			continue
		}
		switch c.name {
		case "note":
			if t := strings.TrimSpace(c.text); t != "" {
				p.notes = append(p.notes, t)
			}
		case "activities":
			for _, a := range c.children {
				if a.name != "note" {
					p.acts = append(p.acts, a.name)
				}
			}
			p.gather(c, depth+1)
		case "status":
			p.gather(c, depth+1)
		}
	}
}

// choice is what all of it amounts to.
func (p *parts) choice(open bool) (st presence.Status, message string, onPhone bool) {
	dnd := false
	for _, n := range p.notes {
		yes, only := saysDND(n)
		dnd = dnd || yes
		if !only && message == "" {
			message = n
		}
	}
	best := activity{}
	for _, name := range p.acts {
		onPhone = onPhone || name == "on-the-phone"
		if a, ok := toRead(name, dnd); ok && a.weight > best.weight {
			best = a
		}
	}
	if best.weight == 0 && open {
		best = activities()[0]
	}
	return best.status, message, onPhone
}

// document is what we publish for somebody.
type document struct {
	entity, id string
	act        activity
	message    string
}

// encode writes the document, as short as can be: over UDP a request has 1300 bytes in all (RFC 3261 section 18.1.1).
func (d document) encode() []byte {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><presence xmlns="` + nsPIDF + `" xmlns:dm="` + nsDM + `" xmlns:r="` + nsRPID + `" entity="`)
	escape(&b, d.entity)
	b.WriteString(`"><tuple id="` + d.id + `"><status><basic>open</basic></status>`)
	if d.message != "" {
		b.WriteString("<note>")
		escape(&b, d.message)
		b.WriteString("</note>")
	}
	b.WriteString(`</tuple><dm:person id="` + d.id + `p"><r:activities>`)
	if d.act.status.Kind == presence.KindDND {
		b.WriteString("<r:note>" + dndNote + "</r:note>")
	}
	if d.act.element != "" {
		b.WriteString("<r:" + d.act.element + "/>")
	}
	b.WriteString("</r:activities>")
	switch {
	case d.message != "":
		b.WriteString("<dm:note>")
		escape(&b, d.message)
		b.WriteString("</dm:note>")
	case d.act.status.Kind == presence.KindDND: // phones that show the note show this one
		b.WriteString("<dm:note>" + dndNote + "</dm:note>")
	}
	b.WriteString("</dm:person></presence>")
	return []byte(b.String())
}

func escape(b *strings.Builder, s string) { _ = xml.EscapeText(b, []byte(s)) }

// clip shortens what a stranger said, for an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

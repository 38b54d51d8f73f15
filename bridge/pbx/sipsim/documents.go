package sipsim

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// document is a presence document that somebody published.
type document struct {
	Tuples []struct {
		ID    string `xml:"id,attr"`
		Basic string `xml:"status>basic"`
		Note  string `xml:"note"`
	} `xml:"urn:ietf:params:xml:ns:pidf tuple"`
	Persons []struct {
		ID         string `xml:"id,attr"`
		Note       string `xml:"urn:ietf:params:xml:ns:pidf:data-model note"`
		Activities struct {
			Note string                       `xml:"urn:ietf:params:xml:ns:pidf:rpid note"`
			All  []struct{ XMLName xml.Name } `xml:",any"`
		} `xml:"urn:ietf:params:xml:ns:pidf:rpid activities"`
	} `xml:"urn:ietf:params:xml:ns:pidf:data-model person"`
}

func readDocument(body []byte) (document, error) {
	var d document
	err := xml.Unmarshal(body, &d)
	return d, err
}

// shows is what the document says, as a person reads it.
func (d document) shows() (status, message string) {
	for _, p := range d.Persons {
		status = "available"
		for _, a := range p.Activities.All {
			if a.XMLName.Local != "note" {
				status = a.XMLName.Local
			}
		}
		if message = p.Note; message == p.Activities.Note {
			message = ""
		}
		if status == "busy" && !strings.EqualFold(p.Activities.Note, dndNote) && !strings.EqualFold(p.Note, dndNote) {
			status = "busy-without-note"
		}
	}
	return status, message
}

// dndNote is how phones here say do not disturb.
const dndNote = "Do not disturb"

// write adds the document's parts to a composed one.
func (d document) write(b *strings.Builder) {
	for _, t := range d.Tuples {
		fmt.Fprintf(b, `<tuple id="%s"><status><basic>%s</basic></status>`, esc(t.ID), esc(t.Basic))
		if t.Note != "" {
			fmt.Fprintf(b, `<note>%s</note>`, esc(t.Note))
		}
		b.WriteString(`</tuple>`)
	}
	for _, p := range d.Persons {
		fmt.Fprintf(b, `<p:person id="%s"><a:activities>`, esc(p.ID))
		if p.Activities.Note != "" {
			fmt.Fprintf(b, `<a:note>%s</a:note>`, esc(p.Activities.Note))
		}
		for _, a := range p.Activities.All {
			if a.XMLName.Local != "note" {
				fmt.Fprintf(b, `<a:%s/>`, a.XMLName.Local)
			}
		}
		b.WriteString(`</a:activities>`)
		if p.Note != "" {
			fmt.Fprintf(b, `<p:note>%s</p:note>`, esc(p.Note))
		}
		b.WriteString(`</p:person>`)
	}
}

func esc(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

// presenceBody composes all documents of somebody (RFC 4479 section 3.3 leaves how to the server): the newer ones first,
// and of parts with the same id the newest only. Nothing at all is an empty body. The mutex is held.
func (s *Sim) presenceBody(p *person) string {
	var parts strings.Builder
	p.ownDocument().write(&parts)
	seen := map[string]bool{}
	for _, pub := range slices.Backward(p.published) {
		if id := pub.doc.id(); !seen[id] {
			seen[id] = true
			pub.doc.write(&parts)
		}
	}
	if parts.Len() == 0 {
		return ""
	}
	return `<?xml version="1.0" encoding="UTF-8"?><presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:p="urn:ietf:params:xml:ns:pidf:data-model" ` +
		`xmlns:a="urn:ietf:params:xml:ns:pidf:rpid" entity="` + esc(s.aor(p)) + `">` + parts.String() + `</presence>`
}

func (d document) id() string {
	for _, t := range d.Tuples {
		return t.ID
	}
	for _, p := range d.Persons {
		return p.ID
	}
	return ""
}

// ownDocument is what the person's phone publishes.
func (p *person) ownDocument() document {
	var d document
	basic := "open"
	if p.offline {
		basic = "closed"
	}
	text := fmt.Sprintf(`<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:p="urn:ietf:params:xml:ns:pidf:data-model" xmlns:a="urn:ietf:params:xml:ns:pidf:rpid">`+
		`<tuple id="phone"><status><basic>%s</basic></status></tuple><p:person id="user"><a:activities>`, basic)
	note := p.message
	switch p.chosen {
	case "available":
	case "busy":
		text += `<a:note>` + dndNote + `</a:note><a:busy/>`
	default:
		text += `<a:` + p.chosen + `/>`
	}
	text += `</a:activities>`
	if note != "" {
		text += `<p:note>` + esc(note) + `</p:note>`
	}
	d, _ = readDocument([]byte(text + `</p:person></presence>`)) // written right here
	return d
}

// dialogBody describes the calls (RFC 4235 section 4). Of a partial one only those that changed.
func (s *Sim) dialogBody(p *person, version uint64, before map[string]string) string {
	state := "full"
	if before != nil {
		state = "partial"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="%d" state="%s" entity="%s">`, version, state, esc(s.aor(p)))
	now := p.dialogs()
	for _, id := range sortedKeys(now) {
		if before == nil || before[id] != now[id] {
			fmt.Fprintf(&b, `<dialog id="%s" %s</dialog>`, id, now[id])
		}
	}
	for _, id := range sortedKeys(before) {
		if _, there := now[id]; !there {
			fmt.Fprintf(&b, `<dialog id="%s"><state event="remote-bye">terminated</state></dialog>`, id)
		}
	}
	return b.String() + `</dialog-info>`
}

// dialogs are the calls, by id, as the rest of their elements.
func (p *person) dialogs() map[string]string {
	out := map[string]string{}
	for _, c := range p.calls {
		switch {
		case c.ringing:
			out[c.id] = `direction="recipient"><state>early</state>`
		case c.held:
			out[c.id] = `direction="recipient"><state>confirmed</state><local><target uri="sip:phone@example.com"><param pname="+sip.rendering" pval="no"/></target></local>`
		default:
			out[c.id] = `direction="recipient"><state>confirmed</state>`
		}
	}
	return out
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

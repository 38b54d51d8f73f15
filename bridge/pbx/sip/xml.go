package sip

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// What a document may be at most. Real ones stay far below.
const (
	maxDocument = 256 << 10
	maxDepth    = 24
	maxText     = 4 << 10
)

var errDocument = errors.New("the document cannot be read")

// element is one element of a document, with what it holds.
type element struct {
	space, name string
	attrs       []xml.Attr
	text        string
	children    []*element
}

// attr is an attribute without a namespace, "" where there is none.
func (e *element) attr(name string) string {
	for _, a := range e.attrs {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// all are the children of a name.
func (e *element) all(name string) []*element {
	var out []*element
	for _, c := range e.children {
		if c.name == name {
			out = append(out, c)
		}
	}
	return out
}

func (e *element) first(name string) *element {
	for _, c := range e.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// parseXML reads a document whole, within bounds. Entities that a document declares are never expanded: encoding/xml
// knows the five predefined ones, and anything else is an error in strict mode.
func parseXML(body []byte, limit int) (*element, error) {
	if len(body) > limit {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", errDocument, limit)
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	d.CharsetReader = latin
	var root *element
	var open []*element
	for count := 0; ; {
		tok, err := d.Token()
		switch {
		case errors.Is(err, io.EOF) && root != nil && len(open) == 0:
			return root, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %w", errDocument, err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if count++; count > limit/12 || len(open) >= maxDepth {
				return nil, fmt.Errorf("%w: too many elements", errDocument)
			}
			e := &element{space: t.Name.Space, name: t.Name.Local, attrs: t.Attr}
			switch {
			case len(open) > 0:
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			case root != nil:
				return nil, fmt.Errorf("%w: it has two roots", errDocument)
			default:
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				addText(open[len(open)-1], t)
			}
		}
	}
}

func addText(e *element, t []byte) {
	if room := maxText - len(e.text); room > 0 {
		e.text += strings.ToValidUTF8(string(t[:min(len(t), room)]), "")
	}
}

// latin lets documents be in ISO 8859-1 too, which old phones use.
func latin(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "utf-8", "us-ascii", "ascii":
		return in, nil
	case "iso-8859-1", "latin1", "windows-1252":
		raw, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		for _, c := range raw {
			b.WriteRune(rune(c))
		}
		return strings.NewReader(b.String()), nil
	}
	return nil, fmt.Errorf("%w: character set %q", errDocument, charset)
}

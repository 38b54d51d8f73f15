package notify

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// rawItem is one element of "value" as it was written, nothing believed yet.
type rawItem struct {
	index          int
	clientState    string
	subscriptionID string
	tenantID       string
	organizationID string
	lifecycleEvent string
	changeType     string
	resource       string // its first maxResource bytes
	resourceBytes  int    // all of it, as written
	expiration     string

	hasResourceData bool
	dataID          string
	dataODataID     string
	dataODataType   string

	hasContent bool
	content    rawContent

	// err is the first thing wrong with the item itself (not with the JSON).
	err *Error
}

// rawContent is encryptedContent, still in base64 as written.
type rawContent struct {
	data, signature, key string
	certificateID        string
	thumbprint           string
}

// rawToken is one element of "validationTokens"; missing when it was no non-empty string.
type rawToken struct {
	text    string
	missing bool
}

// rawBody collects what a walk over a body found.
type rawBody struct {
	hasValue bool // there was an array "value"
	items    int  // how many items were visited
	tokens   []rawToken
	oddities OdditySet
}

// walker reads one body. With heads set it skips what only the decoder needs.
type walker struct {
	dec   *jsontext.Decoder
	heads bool
	skip  int // items that were visited already, before the body was repaired
	visit func(*rawItem) bool
	out   *rawBody

	current rawItem // visitors copy what they keep
}

// errStop ends a walk that its visitor no longer wants.
var errStop = errors.New("stopped by the visitor")

// walk reads a body in one pass. Items may have been visited before an error is found further on.
func walk(body []byte, heads bool, visit func(*rawItem) bool) (rawBody, error) {
	var out rawBody
	if rest, ok := bytes.CutPrefix(body, []byte("\xef\xbb\xbf")); ok {
		body = rest
		out.oddities.add(OddityBOM)
	}
	err := walkOnce(body, heads, 0, visit, &out)
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		if repaired, ok := dropTrailingCommas(body); ok {
			again := rawBody{oddities: out.oddities}
			again.oddities.add(OddityTrailingComma)
			err = walkOnce(repaired, heads, out.items, visit, &again)
			out = again
		}
	}
	switch {
	case err == nil, errors.Is(err, errStop):
		return out, nil
	default:
		return out, fail(ReasonMalformedBody, "", syntaxPosition(err))
	}
}

func walkOnce(body []byte, heads bool, skip int, visit func(*rawItem) bool, out *rawBody) error {
	w := newWalker(body)
	w.heads, w.skip, w.visit, w.out = heads, skip, visit, out
	return w.whole(len(body), w.body)
}

// walkValue reads a text that is one JSON value; read must consume it.
func walkValue(text []byte, read func(w *walker) error) error {
	w := newWalker(text)
	return w.whole(len(text), func() error { return read(w) })
}

func newWalker(text []byte) *walker {
	// Duplicate names and ill-formed UTF-8 are matters of the item that holds them.
	return &walker{dec: jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))}
}

// whole reads one value of size bytes by read, and makes sure that nothing follows.
func (w *walker) whole(size int, read func() error) error {
	if err := read(); err != nil {
		if errors.Is(err, io.EOF) {
			return &jsontext.SyntacticError{ByteOffset: int64(size), Err: io.ErrUnexpectedEOF}
		}
		return err
	}
	switch _, err := w.dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		return &jsontext.SyntacticError{ByteOffset: w.dec.InputOffset(), Err: errors.New("data after the top-level value")}
	}
}

func (w *walker) body() error {
	if w.dec.PeekKind() != '{' {
		return w.dec.SkipValue()
	}
	return w.object(func(name string) error {
		switch name {
		case "value":
			return w.items()
		case "validationTokens":
			return w.tokens()
		default:
			return w.dec.SkipValue()
		}
	})
}

// object reads an object; member must consume the value of the name it is given.
func (w *walker) object(member func(name string) error) error {
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	for w.dec.PeekKind() == '"' {
		raw, err := w.dec.ReadValue()
		if err != nil {
			return err
		}
		if err := member(memberName(raw)); err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

// array reads an array; element must consume one value.
func (w *walker) array(element func() error) error {
	if _, err := w.dec.ReadToken(); err != nil {
		return err
	}
	for k := w.dec.PeekKind(); k != ']' && k != jsontext.KindInvalid; k = w.dec.PeekKind() {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := w.dec.ReadToken()
	return err
}

// items reads "value". A second one is read as well: each item is judged by itself, so nothing is
// gained by losing them.
func (w *walker) items() error {
	if w.dec.PeekKind() != '[' {
		return w.dec.SkipValue()
	}
	if w.out.hasValue {
		w.out.oddities.add(OddityDuplicateValue)
	}
	w.out.hasValue = true
	return w.array(func() error {
		item := &w.current
		*item = rawItem{index: w.out.items}
		if err := w.item(item); err != nil {
			return err
		}
		w.out.items++
		if item.index >= w.skip && !w.visit(item) {
			return errStop
		}
		return nil
	})
}

func (w *walker) tokens() error {
	switch w.dec.PeekKind() {
	case '[':
	case 'n':
		return w.dec.SkipValue()
	default:
		w.out.tokens = append(w.out.tokens, rawToken{missing: true})
		return w.dec.SkipValue()
	}
	return w.array(func() error {
		if w.heads {
			return w.dec.SkipValue()
		}
		text, ok, err := w.text()
		if err != nil {
			return err
		}
		w.out.tokens = append(w.out.tokens, rawToken{text: text, missing: !ok || text == ""})
		return nil
	})
}

// text reads a string. It is not ok, and has consumed the value, when that is of another type.
func (w *walker) text() (s string, ok bool, err error) {
	if w.dec.PeekKind() != '"' {
		return "", false, w.dec.SkipValue()
	}
	raw, err := w.dec.ReadValue()
	if err != nil {
		return "", false, err
	}
	return unquote(raw), true, nil
}

// unquote is what a JSON string stands for. The decoder has seen that it is one, so the only error left
// is ill-formed UTF-8 (or an escape cut in two), which is replaced by U+FFFD and then matches nothing.
func unquote(raw []byte) string {
	if plain, is := unescaped(raw); is {
		return strings.ToValidUTF8(string(plain), "\uFFFD")
	}
	b, _ := jsontext.AppendUnquote(nil, raw)
	return string(b)
}

// unescaped returns what is between the quotes when there is nothing to unescape there.
func unescaped(raw []byte) ([]byte, bool) {
	in := raw[1 : len(raw)-1]
	if bytes.IndexByte(in, '\\') >= 0 {
		return nil, false
	}
	return in, true
}

// memberName is the name without quotes; names that we know come without an allocation.
func memberName(raw []byte) string {
	if in, ok := unescaped(raw); ok {
		if name, known := knownNames[string(in)]; known {
			return name
		}
		return ""
	}
	return knownNames[unquote(raw)]
}

// dropTrailingCommas returns a copy of body without the commas that stand directly before a closing
// brace or bracket, and whether there was any. A comma that follows nothing stays, and stays an error.
func dropTrailingCommas(body []byte) ([]byte, bool) {
	out := make([]byte, 0, len(body))
	var last byte // the last byte outside strings that is no white space
	comma := -1   // where in out the comma is that has nothing after it yet
	found := false
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch c {
		case ' ', '\t', '\r', '\n':
			out = append(out, c)
			continue
		case '"':
			end := stringEnd(body, i)
			out = append(out, body[i:end]...)
			i = end - 1
			comma, last = -1, '"'
			continue
		case ',':
			if last != '[' && last != '{' && last != ',' && last != ':' && last != 0 {
				comma = len(out)
			}
		case '}', ']':
			if comma >= 0 {
				out[comma] = ' '
				found = true
			}
			comma = -1
		default:
			comma = -1
		}
		out = append(out, c)
		last = c
	}
	return out, found
}

// stringEnd is the index after the closing quote of the string that begins at i, or the end of b.
func stringEnd(b []byte, i int) int {
	for j := i + 1; j < len(b); j++ {
		switch b[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return len(b)
}

func wrongType(field string, got jsontext.Kind) *Error {
	return fail(ReasonMalformedItem, field, fmt.Errorf("of type %v", got))
}

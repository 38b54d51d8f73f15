package graph

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// scanner walks over JSON (RFC 8259) and skips what nobody asks for without building it. It is as strict as
// encoding/json: what it does not look into is checked all the same. After a failure it says false for ever.
type scanner struct {
	b   []byte
	i   int
	bad bool
}

// maxDepth bounds nesting; a presence has four levels.
const maxDepth = 64

// fail ends the scan.
func (s *scanner) fail() bool {
	s.bad, s.i = true, len(s.b)
	return false
}

// peek is the next byte that is no space, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// take takes the next byte if it is c.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

// end tells whether nothing is left, and nothing failed.
func (s *scanner) end() bool { return s.peek() == 0 && !s.bad && s.i == len(s.b) }

// object calls each with every key of an object; each must take the value. Anything else than an object is
// skipped, and false.
func (s *scanner) object(depth int, each func(key []byte)) bool {
	if s.peek() != '{' {
		s.skip(depth)
		return false
	}
	if depth <= 0 {
		return s.fail()
	}
	s.i++
	if s.take('}') {
		return true
	}
	for !s.bad {
		key, ok := s.text()
		if !ok || !s.take(':') {
			return s.fail()
		}
		each(key)
		if s.take(',') {
			continue
		}
		return s.take('}') || s.fail()
	}
	return false
}

// array calls each for every element of an array; each must take it. Anything else than an array is skipped,
// and false.
func (s *scanner) array(depth int, each func()) bool {
	if s.peek() != '[' {
		s.skip(depth)
		return false
	}
	if depth <= 0 {
		return s.fail()
	}
	s.i++
	if s.take(']') {
		return true
	}
	for !s.bad {
		each()
		if s.take(',') {
			continue
		}
		return s.take(']') || s.fail()
	}
	return false
}

// str takes a string; anything else is skipped and gives nothing.
func (s *scanner) str(depth int) []byte {
	if s.peek() != '"' {
		s.skip(depth)
		return nil
	}
	v, ok := s.text()
	if !ok {
		s.fail()
	}
	return v
}

// boolean takes true or false; anything else is skipped and gives nil.
func (s *scanner) boolean(depth int) *bool {
	c := s.peek()
	s.skip(depth)
	if s.bad || c != 't' && c != 'f' {
		return nil
	}
	v := c == 't'
	return &v
}

// text takes a string and returns what it says: a part of the input where that says it plainly.
func (s *scanner) text() ([]byte, bool) {
	if s.peek() != '"' {
		return nil, false
	}
	start := s.i
	s.i++
	plain, ascii := true, true
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			raw := s.b[start+1 : s.i-1]
			if plain && (ascii || utf8.Valid(raw)) {
				return raw, true
			}
			var v string
			if json.Unmarshal(s.b[start:s.i], &v) != nil {
				return nil, false
			}
			return []byte(v), true
		case c == '\\':
			plain = false
			s.i += 2 // what follows is judged with the whole
		case c < ' ':
			return nil, false
		default:
			ascii = ascii && c < utf8.RuneSelf
			s.i++
		}
	}
	return nil, false
}

// skip takes any value.
func (s *scanner) skip(depth int) {
	if depth <= 0 {
		s.fail()
		return
	}
	switch c := s.peek(); {
	case c == '{':
		s.object(depth-1, func([]byte) { s.skip(depth - 1) })
	case c == '[':
		s.array(depth-1, func() { s.skip(depth - 1) })
	case c == '"':
		if _, ok := s.text(); !ok {
			s.fail()
		}
	case c == 't':
		s.word("true")
	case c == 'f':
		s.word("false")
	case c == 'n':
		s.word("null")
	default:
		s.number()
	}
}

// word takes a literal.
func (s *scanner) word(w string) {
	if !bytes.HasPrefix(s.b[s.i:], []byte(w)) {
		s.fail()
		return
	}
	s.i += len(w)
}

// number takes a number.
func (s *scanner) number() {
	start := s.i
	for s.i < len(s.b) && strings.IndexByte("+-.0123456789eE", s.b[s.i]) >= 0 {
		s.i++
	}
	if start == s.i || !json.Valid(s.b[start:s.i]) {
		s.fail()
	}
}

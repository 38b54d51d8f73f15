package bus

import (
	"encoding/json"
	"fmt"
	"strings"
)

// split divides a notification body into bodies of at most limit bytes, between its items: each
// part has some of the elements of "value", in order, and every other member of the envelope (the
// validation tokens, which vouch for all items). It looks at nothing but the structure, so whatever
// a stranger put into an item stays as it was, byte for byte.
func split(body []byte, limit int) ([][]byte, error) {
	env, err := scanEnvelope(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d, and it cannot be split: %w", ErrTooLarge, len(body), limit, err)
	}
	// {<others>,"value":[<items>]}
	head := make([]byte, 0, 64)
	head = append(head, '{')
	for _, other := range env.others {
		head = append(append(head, other...), ',')
	}
	head = append(head, `"value":[`...)
	const tail = "]}"
	var parts [][]byte
	part := append([]byte(nil), head...)
	for i, item := range env.items {
		if len(head)+len(item)+len(tail) > limit {
			return nil, fmt.Errorf("%w: item %d has %d bytes, with the envelope's %d above the limit of %d",
				ErrTooLarge, i, len(item), len(head)+len(tail), limit)
		}
		if len(part) > len(head) && len(part)+1+len(item)+len(tail) > limit {
			parts = append(parts, append(part, tail...))
			part = append(make([]byte, 0, limit), head...)
		}
		if len(part) > len(head) {
			part = append(part, ',')
		}
		part = append(part, item...)
	}
	if len(part)+len(tail) > limit {
		return nil, fmt.Errorf("%w: the envelope alone is above the limit of %d", ErrTooLarge, limit)
	}
	return append(parts, append(part, tail...)), nil
}

// envelope is a notification body taken apart, all in the sender's own bytes.
type envelope struct {
	others [][]byte // `"name":value` of every member but "value"
	items  [][]byte // the elements of "value"
}

// scanner walks over JSON without decoding it. It checks only what it needs in order to find where
// a value ends: strings and brackets. The decoder checks the rest.
type scanner struct {
	data []byte
	pos  int
}

// maxNesting bounds how deep a value may nest; Graph's items nest three levels.
const maxNesting = 128

func scanEnvelope(body []byte) (envelope, error) {
	var env envelope
	s := &scanner{data: body}
	err := s.elements('{', '}', func() error {
		start := s.pos
		name, err := s.member()
		if err != nil {
			return err
		}
		if strings.EqualFold(name, "value") && s.peek() == '[' {
			return s.elements('[', ']', func() error {
				item, err := s.value()
				env.items = append(env.items, item)
				return err
			})
		}
		if _, err := s.value(); err != nil {
			return err
		}
		env.others = append(env.others, body[start:s.pos])
		return nil
	})
	if err != nil {
		return env, err
	}
	if s.peek() != 0 || s.pos < len(body) {
		return env, s.errorf("something follows the envelope")
	}
	return env, nil
}

// elements walks over what stands between two brackets, separated by commas. A comma before the
// closing bracket is tolerated: Microsoft's own sample has one.
func (s *scanner) elements(opening, closing byte, each func() error) error {
	if s.peek() != opening {
		return s.errorf("expected %q", opening)
	}
	s.pos++
	for {
		if s.peek() == closing {
			s.pos++
			return nil
		}
		if err := each(); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case closing:
		default:
			return s.errorf("expected a comma or %q", closing)
		}
	}
}

// member reads `"name":` and returns the name, decoded.
func (s *scanner) member() (string, error) {
	s.peek()
	raw, err := s.str()
	if err != nil {
		return "", err
	}
	var name string
	if err := json.Unmarshal(raw, &name); err != nil {
		return "", s.errorf("a member's name is not a string")
	}
	if s.peek() != ':' {
		return "", s.errorf("expected a colon")
	}
	s.pos++
	s.peek()
	return name, nil
}

// value returns the bytes of one value and moves past it.
func (s *scanner) value() ([]byte, error) {
	s.peek()
	start := s.pos
	depth := 0
	for {
		switch c := s.peek(); c {
		case 0:
			return nil, s.errorf("a value does not end")
		case '"':
			if _, err := s.str(); err != nil {
				return nil, err
			}
		case '{', '[':
			s.pos++
			if depth++; depth > maxNesting {
				return nil, s.errorf("a value nests deeper than %d", maxNesting)
			}
			continue
		case '}', ']':
			if depth == 0 {
				return nil, s.errorf("a value is missing")
			}
			s.pos++
			depth--
		case ',', ':':
			if depth == 0 {
				return nil, s.errorf("a value is missing")
			}
			s.pos++
			continue
		default:
			if !s.literal() {
				return nil, s.errorf("unexpected %q", c)
			}
		}
		if depth == 0 {
			return s.data[start:s.pos], nil
		}
	}
}

// str returns a string with its quotes and moves past it.
func (s *scanner) str() ([]byte, error) {
	start := s.pos
	if s.pos >= len(s.data) || s.data[s.pos] != '"' {
		return nil, s.errorf("expected a string")
	}
	for i := s.pos + 1; i < len(s.data); i++ {
		switch s.data[i] {
		case '\\':
			i++
		case '"':
			s.pos = i + 1
			return s.data[start:s.pos], nil
		}
	}
	return nil, s.errorf("a string does not end")
}

// literal moves past a number, true, false or null.
func (s *scanner) literal() bool {
	start := s.pos
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '+' && c != '.' {
			break
		}
		s.pos++
	}
	return s.pos > start
}

// peek moves past white space and returns the byte that follows, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s", s.pos, fmt.Sprintf(format, args...))
}

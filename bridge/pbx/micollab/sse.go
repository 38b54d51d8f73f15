package micollab

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// Bounds of the event stream, in bytes. An event of ours has a few hundred.
const (
	maxLine    = 64 << 10
	maxEvent   = 256 << 10
	maxEventID = 1024
)

// frame is one thing that an event stream says.
type frame struct {
	comment  bool // a sign of life and nothing else
	oversize bool // an event above the bounds; its data is gone
	event    string
	data     []byte
	id       *string // nil: the event said nothing about ids
	retry    time.Duration
}

// frameReader reads an event stream as the HTML standard has it (section 9.2.6, "Interpreting an event
// stream"), except that it hands over comments, hands over named events that have no data, and forgets
// what is too long instead of keeping it.
type frameReader struct {
	br     *bufio.Reader
	begun  bool
	skipLF bool // the line before ended with CR: a LF belongs to it
	line   []byte
	cur    frame
	some   bool // cur has anything in it
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{br: bufio.NewReaderSize(r, 16<<10)}
}

// next returns the next frame. The end of the stream is io.EOF; an event that it interrupts is lost, as
// the standard says.
func (f *frameReader) next() (frame, error) {
	for {
		line, tooLong, err := f.readLine()
		if err != nil {
			return frame{}, err
		}
		switch {
		case len(line) == 0 && !tooLong:
			if out, ok := f.dispatch(); ok {
				return out, nil
			}
		case line[0] == ':':
			return frame{comment: true}, nil
		case tooLong:
			f.cur.oversize, f.cur.data, f.some = true, nil, true
		default:
			f.field(line)
		}
	}
}

func (f *frameReader) dispatch() (frame, bool) {
	out, some := f.cur, f.some
	f.cur, f.some = frame{}, false
	out.data = bytes.TrimSuffix(out.data, []byte("\n"))
	return out, some
}

func (f *frameReader) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		f.cur.event = string(value)
	case "data":
		if f.cur.oversize || len(f.cur.data)+len(value) > maxEvent {
			f.cur.oversize, f.cur.data = true, nil
			break
		}
		f.cur.data = append(append(f.cur.data, value...), '\n')
	case "id":
		if bytes.IndexByte(value, 0) < 0 { // the standard ignores such a field
			id := usableID(value)
			f.cur.id = &id
		}
	case "retry":
		ms, err := strconv.ParseUint(string(value), 10, 32)
		if err != nil {
			return
		}
		f.cur.retry = time.Duration(ms) * time.Millisecond
	default:
		return
	}
	f.some = true
}

// usableID is "" for what cannot travel in a header: a stream with such ids cannot be resumed.
func usableID(b []byte) string {
	if len(b) > maxEventID || bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return ""
	}
	return strings.Clone(string(b))
}

// readLine returns one line without its end, which is CR, LF or both. A line above the bound comes cut, and
// says so. It does not wait for the LF that may follow a CR: a heartbeat must not wait for the next.
func (f *frameReader) readLine() (line []byte, tooLong bool, err error) {
	f.line = f.line[:0]
	for {
		b, err := f.br.ReadByte()
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF // broken off or ended: the same for an event stream
			}
			return nil, false, err
		}
		if f.skipLF {
			f.skipLF = false
			if b == '\n' {
				continue
			}
		}
		if b == '\n' || b == '\r' {
			f.skipLF = b == '\r'
			line = f.line
			if !f.begun {
				f.begun = true
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			return line, tooLong, nil
		}
		if len(f.line) >= maxLine {
			tooLong = true
			continue
		}
		f.line = append(f.line, b)
	}
}

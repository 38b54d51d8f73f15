package directory

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Override says whose an endpoint is, before every rule.
type Override struct {
	PBX      string // the PBX's configured name
	Endpoint string // the PBX's own id of the user, or the extension
	Person   string // object id, UPN or mail; empty: the endpoint is nobody's
	Line     int    // of the file
}

// String is the override as one reads it.
func (o Override) String() string {
	person := o.Person
	if person == "" {
		person = "nobody"
	}
	return fmt.Sprintf("line %d: %s %s is %s", o.Line, o.PBX, o.Endpoint, person)
}

// The columns of a file of overrides. Others are ignored, so that a site may keep remarks beside them.
const (
	columnPBX      = "pbx"
	columnEndpoint = "endpoint"
	columnPerson   = "person"
)

// nobody stands for no person, besides an empty field.
const nobody = "none"

// maxOverrides bounds a file: more lines than that are no exceptions any more.
const maxOverrides = 1_000_000

// ReadOverrides reads a CSV file (RFC 4180) with a header that names the columns pbx, endpoint and person; lines
// that begin with # are remarks. knownPBX says which PBXs there are. Errors name the line.
func ReadOverrides(r io.Reader, knownPBX func(name string) bool) ([]Override, error) {
	c := csv.NewReader(r)
	c.Comment, c.TrimLeadingSpace, c.FieldsPerRecord = '#', true, -1
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty; begin it with the line pbx,endpoint,person")
	}
	if err != nil {
		return nil, csvError(err)
	}
	at, err := columns(header)
	if err != nil {
		return nil, err
	}
	var out []Override
	first := map[[2]string]int{}
	for {
		fields, err := c.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := c.FieldPos(0)
		o, err := override(fields, at, line, knownPBX)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		k := [2]string{o.PBX, key(o.Endpoint)}
		if before, twice := first[k]; twice {
			return nil, fmt.Errorf("line %d: the endpoint %s of %s stands in line %d already; an endpoint belongs to one person", line, o.Endpoint, o.PBX, before)
		}
		first[k] = line
		if out = append(out, o); len(out) > maxOverrides {
			return nil, fmt.Errorf("line %d: there are more than %d overrides", line, maxOverrides)
		}
	}
}

func override(fields []string, at map[string]int, line int, knownPBX func(string) bool) (Override, error) {
	field := func(name string) string {
		if i := at[name]; i < len(fields) {
			return strings.TrimSpace(fields[i])
		}
		return ""
	}
	o := Override{PBX: field(columnPBX), Endpoint: field(columnEndpoint), Person: field(columnPerson), Line: line}
	switch {
	case o.PBX == "":
		return o, errors.New("pbx is empty; give the PBX's name as in the configuration")
	case !knownPBX(o.PBX):
		return o, fmt.Errorf("the account has no PBX %q; give the name as in the configuration", o.PBX)
	case o.Endpoint == "":
		return o, errors.New("endpoint is empty; give the PBX's id of the user, or the extension")
	case len(fields) <= at[columnPerson]:
		return o, fmt.Errorf("person is missing; give an object id, a user principal name or a mail address, or %s", nobody)
	}
	if strings.EqualFold(o.Person, nobody) {
		o.Person = ""
	}
	return o, nil
}

// columns finds the columns in the header.
func columns(header []string) (map[string]int, error) {
	at := map[string]int{}
	for i, name := range header {
		// A byte order mark is what spreadsheets begin with.
		name = key(strings.TrimPrefix(name, "\ufeff"))
		if _, twice := at[name]; twice && name != "" {
			return nil, fmt.Errorf("line 1: the column %q stands there twice", name)
		}
		at[name] = i
	}
	for _, name := range []string{columnPBX, columnEndpoint, columnPerson} {
		if _, found := at[name]; !found {
			return nil, fmt.Errorf("line 1: the column %q is missing; begin the file with the line pbx,endpoint,person", name)
		}
	}
	return at, nil
}

func csvError(err error) error {
	var pe *csv.ParseError
	if errors.As(err, &pe) {
		return fmt.Errorf("line %d: %w; write the file as comma-separated values", pe.Line, pe.Err)
	}
	return err
}

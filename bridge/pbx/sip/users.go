package sip

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/goccy/go-yaml"
)

// maxUsersFile is more than the file of any site.
const maxUsersFile = 64 << 20

// User is one extension, as the users file lists it. SIP has no directory, so the list must come from somewhere.
//
// A file whose name ends in .yaml or .yml holds a list of such maps; any other is CSV with a line of titles (comma or
// semicolon). The titles and keys are extension, uri, mail and name, in any order; extension or uri is required in
// each. Without a uri the address is sip:EXTENSION@DOMAIN; without an extension it is the uri's user part.
//
//	extension,uri,mail,name
//	1001,sip:1001@pbx.example.com,ada@example.com,Ada Abel
type User struct {
	Extension string `yaml:"extension"`
	URI       string `yaml:"uri"`
	Mail      string `yaml:"mail"`
	Name      string `yaml:"name"`
}

// person is somebody with an address.
type person struct {
	User

	id  string
	aor sip.Uri
}

// ParseUsers reads a users file. domain completes what has no uri. An error names the line or the entry.
func ParseUsers(name, domain string, data []byte) ([]User, error) {
	people, err := parseUsers(name, domain, data)
	users := make([]User, len(people))
	for i, p := range people {
		users[i] = p.User
	}
	return users, err
}

func parseUsers(name, domain string, data []byte) ([]person, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	read := csvUsers
	if ext := strings.ToLower(filepath.Ext(name)); ext == ".yaml" || ext == ".yml" {
		read = yamlUsers
	}
	users, where, err := read(data)
	if err != nil {
		return nil, err
	}
	seen := map[string]string{}
	people := make([]person, 0, len(users))
	for i, u := range users {
		p, err := u.person(domain)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where(i), err)
		}
		if first, twice := seen[p.id]; twice {
			return nil, fmt.Errorf("%s: %s is also at %s: remove one of them", where(i), p.aor.String(), first)
		}
		seen[p.id] = where(i)
		people = append(people, p)
	}
	return people, nil
}

func (u User) person(domain string) (person, error) {
	u.Extension, u.URI, u.Mail, u.Name = strings.TrimSpace(u.Extension), strings.TrimSpace(u.URI), strings.TrimSpace(u.Mail), strings.TrimSpace(u.Name)
	text := u.URI
	if text == "" {
		text = u.Extension
	}
	if text == "" {
		return person{}, errors.New("neither extension nor uri is given: one of them must be")
	}
	aor, err := parseAOR(text, domain)
	if err != nil {
		return person{}, fmt.Errorf("uri %w", err)
	}
	if u.Extension == "" {
		u.Extension = aor.User
	}
	u.URI = aor.String()
	return person{User: u, id: userID(aor, domain), aor: aor}, nil
}

// parseAOR reads an address of record: sip:1001@example.com, or 1001 alone.
func parseAOR(text, domain string) (sip.Uri, error) {
	text = strings.TrimSpace(text)
	if strings.ContainsAny(text, "<>\" \t\r\n") {
		return sip.Uri{}, fmt.Errorf("%q is no address: write sip:1001@example.com", clip(text))
	}
	if !strings.Contains(text, "@") && !strings.Contains(text, ":") {
		text += "@" + domain
	}
	if low := strings.ToLower(text); !strings.HasPrefix(low, "sip:") && !strings.HasPrefix(low, "sips:") {
		text = "sip:" + text
	}
	var u sip.Uri
	if err := sip.ParseUri(text, &u); err != nil || u.Host == "" || u.User == "" {
		return sip.Uri{}, fmt.Errorf("%q is no address: write sip:1001@example.com", clip(text))
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	u.UriParams, u.Headers, u.Password = nil, nil, ""
	return u, nil
}

// userID is the PBX's own id of an address: the user part within the PBX's domain, the whole address elsewhere.
func userID(aor sip.Uri, domain string) string {
	if strings.EqualFold(aor.Host, domain) {
		return aor.User
	}
	return aor.User + "@" + aor.Host
}

func yamlUsers(data []byte) ([]User, func(int) string, error) {
	var users []User
	where := func(i int) string { return fmt.Sprintf("entry %d", i+1) }
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, where, nil
	}
	if err := readYAML(data, &users); err != nil {
		return nil, where, fmt.Errorf("a list of maps with extension, uri, mail and name is wanted: %w", err)
	}
	return users, where, nil
}

// readYAML reads what may be no YAML at all: the library panics at some of it.
func readYAML(data []byte, into *[]User) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is no YAML: %v", p)
		}
	}()
	return yaml.UnmarshalWithOptions(data, into, yaml.Strict())
}

func csvUsers(data []byte) ([]User, func(int) string, error) {
	var lines []int
	where := func(i int) string { return fmt.Sprintf("line %d", lines[i]) }
	first, _, _ := bytes.Cut(data, []byte("\n"))
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.Comment = -1, true, '#'
	if bytes.Count(first, []byte(";")) > bytes.Count(first, []byte(",")) {
		r.Comma = ';'
	}
	titles, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, where, nil
	}
	if err != nil {
		return nil, where, err
	}
	columns, err := columnsOf(titles)
	if err != nil {
		return nil, where, err
	}
	var users []User
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return users, where, nil
		}
		if err != nil {
			return nil, where, err
		}
		var u User
		for i, field := range record {
			if i < len(columns) && columns[i] != nil {
				*columns[i](&u) = field
			}
		}
		line, _ := r.FieldPos(0)
		users, lines = append(users, u), append(lines, line)
	}
}

// columnsOf says where each column goes. Columns with other titles are left alone: the file may serve others too.
func columnsOf(titles []string) ([]func(*User) *string, error) {
	out := make([]func(*User) *string, len(titles))
	useful := false
	for i, t := range titles {
		switch strings.ToLower(strings.TrimSpace(t)) {
		case "extension", "ext", "number":
			out[i], useful = func(u *User) *string { return &u.Extension }, true
		case "uri", "sip", "sip_uri", "aor":
			out[i], useful = func(u *User) *string { return &u.URI }, true
		case "mail", "email", "e-mail":
			out[i] = func(u *User) *string { return &u.Mail }
		case "name", "display_name", "displayname":
			out[i] = func(u *User) *string { return &u.Name }
		}
	}
	if !useful {
		return nil, errors.New("line 1 must hold the titles of the columns, extension or uri among them: extension,uri,mail,name")
	}
	return out, nil
}

// userFile is the users file as it was last read.
type userFile struct {
	path, domain string

	mu     sync.Mutex
	mod    time.Time
	size   int64
	people []person
	byID   map[string]person
	read   bool
	gen    int // grows with every change
}

// load reads the file if it changed. What cannot be read leaves what was read before in force, with the error.
func (f *userFile) load() (people []person, gen int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.path == "" {
		return nil, 0, nil
	}
	info, err := os.Stat(f.path)
	switch {
	case err != nil:
		return f.people, f.gen, fmt.Errorf("users_file: %w", err)
	case info.Size() > maxUsersFile:
		return f.people, f.gen, fmt.Errorf("users_file %s is larger than %d bytes", f.path, maxUsersFile)
	case f.read && info.ModTime().Equal(f.mod) && info.Size() == f.size:
		return f.people, f.gen, nil
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return f.people, f.gen, fmt.Errorf("users_file: %w", err)
	}
	parsed, err := parseUsers(f.path, f.domain, data)
	if err != nil {
		return f.people, f.gen, fmt.Errorf("users_file %s: %w", f.path, err)
	}
	f.mod, f.size, f.read, f.people = info.ModTime(), info.Size(), true, parsed
	f.byID = make(map[string]person, len(parsed))
	for _, p := range parsed {
		f.byID[p.id] = p
	}
	f.gen++
	return f.people, f.gen, nil
}

// find is one person, by the id of [userID].
func (f *userFile) find(id string) (person, bool, error) {
	_, _, err := f.load()
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.byID[id]
	if ok {
		err = nil
	}
	return p, ok, err
}

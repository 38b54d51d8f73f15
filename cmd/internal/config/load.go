package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"presencebridge/bridge/presence"
)

// Role is what a process does. One process has all of them unless it is told otherwise.
type Role string

// The roles.
const (
	RoleWebhook Role = "webhook" // the public receiver; needs no secret but the webhook key
	RoleEngine  Role = "engine"  // owns accounts: engine, connectors, monitors, sweep
	RoleConsole Role = "console" // the admin listener
)

// AllRoles lists every role.
func AllRoles() []Role { return []Role{RoleWebhook, RoleEngine, RoleConsole} }

// ParseRoles reads a list separated by commas. The empty list means all roles.
func ParseRoles(text string) ([]Role, error) {
	if strings.TrimSpace(text) == "" {
		return AllRoles(), nil
	}
	var roles []Role
	for name := range strings.SplitSeq(text, ",") {
		role := Role(strings.TrimSpace(name))
		if !slices.Contains(AllRoles(), role) {
			return nil, fmt.Errorf("unknown role %q; known are webhook, engine and console, separated by commas", role)
		}
		if !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	return roles, nil
}

// Options say how a configuration is read.
type Options struct {
	// Env holds the environment as NAME=value, usually os.Environ(). Only PRESENCE_BRIDGE_ variables
	// are looked at; one that names no key is a problem.
	Env []string
	// IgnoreEnv lists PRESENCE_BRIDGE_ variables that mean something else to the caller.
	IgnoreEnv []string
	// Roles of this process; nil means all. What a role does not need may be absent.
	Roles []Role
	// Files says that the files named must exist, be readable and hold what they should.
	Files bool
	// ParsePolicy checks an account's policy; its error becomes a problem. Nil accepts any policy.
	ParsePolicy func(yaml []byte) error
	// Catalogue is what every PBX of a type offers, nil where each site has its own: a policy is compared with it.
	// Nil knows of no type.
	Catalogue func(pbxType string) []presence.Status
}

// maxFile is the largest configuration file that is read: far beyond thousands of accounts.
const maxFile = 16 << 20

// Load reads and checks a configuration file. Any problem with the content makes the error an [*Error] that
// holds all of them.
func Load(file string, o Options) (*Config, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read configuration: %s has %s, more than the %s that are read", file, Size(info.Size()), Size(maxFile))
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(file, src, o)
}

// Parse checks a configuration's text. The file's name is for messages, and its folder is what relative names are
// taken from; empty leaves those as they are.
func Parse(file string, src []byte, o Options) (*Config, error) {
	if o.Roles == nil {
		o.Roles = AllRoles()
	}
	r := newReport()
	c := &Config{}
	root := reflect.ValueOf(c).Elem()
	d := decoder{report: r, src: bytes.TrimPrefix(src, []byte("\ufeff"))} // Windows' editors put a byte order mark there
	d.document(root)
	if d.parsed {
		applyEnv(root, o, r)
		if file != "" {
			resolvePaths(root, filepath.Dir(file))
		}
		v := validator{report: r, config: c, options: o}
		v.all()
	}
	if len(r.problems) > 0 {
		return nil, &Error{File: file, Problems: sorted(r.problems)}
	}
	c.Warnings = sorted(r.warnings)
	return c, nil
}

// resolvePaths makes relative file names relative to the folder of the configuration.
func resolvePaths(v reflect.Value, base string) {
	t := v.Type()
	for i := range t.NumField() {
		f := v.Field(i)
		switch kindOf(t.Field(i).Type) {
		case kindGroup:
			resolvePaths(f, base)
		case kindItems:
			if t.Field(i).Tag.Get("yaml") == "-" {
				continue
			}
			for j := range f.Len() {
				resolvePaths(f.Index(j), base)
			}
		case kindScalar:
			if t.Field(i).Tag.Get("path") != "" && f.String() != "" && !filepath.IsAbs(f.String()) {
				f.SetString(filepath.Join(base, f.String()))
			}
		case kindStrings, kindRaw:
		}
	}
}

// ReadSecret reads a secret from its file, without the line break that editors leave at the end.
func ReadSecret(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("read secret: %w", &os.PathError{Op: "read", Path: file, Err: errors.New("the file is empty")})
	}
	if strings.ContainsAny(secret, "\r\n") { // no secret of ours has any; an HTTP header would be refused with a riddle
		return "", fmt.Errorf("read secret: %w", &os.PathError{Op: "read", Path: file, Err: errors.New("the file has several lines; leave only the one with the secret")})
	}
	return secret, nil
}

package config

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// setting is a key of the present configuration that an environment variable can override.
type setting struct {
	path  string
	value reflect.Value
	field reflect.StructField
}

// serviceLink matches the variables that Kubernetes sets in every container for each service of the namespace: a
// service named presence-bridge or presence-bridge-admin brings variables with our prefix that nobody wrote.
var serviceLink = regexp.MustCompile(`^` + EnvPrefix + `([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// applyEnv overrides keys by environment variables. The name of a variable is PRESENCE_BRIDGE_ and the key's path
// in capitals, with _ for every dot and dash; an entry of a list stands by its name, so the list must be in the
// file: PRESENCE_BRIDGE_ACCOUNTS_CONTOSO_GRAPH_CLIENT_ID. Lists of text are separated by commas.
func applyEnv(root reflect.Value, o Options, r *report) {
	known := map[string][]setting{}
	collectSettings(root, "", EnvPrefix, known)
	for _, pair := range o.Env {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, EnvPrefix) || slices.Contains(o.IgnoreEnv, name) || serviceLink.MatchString(name) {
			continue
		}
		switch settings := known[name]; len(settings) {
		case 1:
			r.override(settings[0], name, text)
		case 0:
			r.unknownEnv(name, known)
		default:
			r.problems = append(r.problems, Problem{Path: name, Env: name,
				Message: fmt.Sprintf("could mean %s or %s", settings[0].path, settings[1].path),
				Remedy:  "set that key in the file, or rename one of the entries"})
		}
	}
}

func collectSettings(v reflect.Value, path, env string, into map[string][]setting) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		s := setting{path: join(path, name), value: v.Field(i), field: f}
		variable := env + envToken(name)
		switch kindOf(f.Type) {
		case kindGroup:
			collectSettings(s.value, s.path, variable+"_", into)
		case kindItems:
			collectItems(s, variable, into)
		case kindScalar, kindStrings:
			into[variable] = append(into[variable], s)
		case kindRaw:
		}
	}
}

func collectItems(s setting, variable string, into map[string][]setting) {
	item := s.field.Tag.Get("item")
	if item == "-" {
		into[variable] = append(into[variable], s)
		return
	}
	id, _ := fieldByKey(s.field.Type.Elem(), item)
	for i := range s.value.Len() {
		entry := s.value.Index(i)
		name := entry.FieldByIndex(id.Index).String()
		if !validName(name) {
			continue // reported as a bad name
		}
		inner := map[string][]setting{}
		collectSettings(entry, fmt.Sprintf("%s[%d]", s.path, i), variable+"_"+envToken(name)+"_", inner)
		delete(inner, variable+"_"+envToken(name)+"_"+envToken(item))
		for k, v := range inner {
			into[k] = append(into[k], v...)
		}
	}
}

// override sets one key from a variable. What the file said about the key no longer counts.
func (r *report) override(s setting, name, text string) {
	r.forget(s.path)
	r.env[s.path] = name
	switch kindOf(s.field.Type) {
	case kindStrings:
		s.value.Set(reflect.ValueOf(splitList(text)))
	case kindItems: // of groups of which the first key is all that is needed
		list := splitList(text)
		s.value.Set(reflect.MakeSlice(s.field.Type, len(list), len(list)))
		for i, text := range list {
			applyDefaults(s.value.Index(i))
			s.value.Index(i).Field(0).SetString(text)
			r.env[fmt.Sprintf("%s[%d].%s", s.path, i, keysOf(s.field.Type.Elem())[0])] = name
		}
	case kindScalar:
		r.set(s.value, s.field, text, s.path)
	case kindGroup, kindRaw:
	}
}

// forget drops the problems that a key's value in the file had.
func (r *report) forget(path string) {
	inside := func(at string) bool {
		return at == path || strings.HasPrefix(at, path+".") || strings.HasPrefix(at, path+"[")
	}
	maps.DeleteFunc(r.broken, func(at string, _ bool) bool { return inside(at) })
	r.problems = slices.DeleteFunc(r.problems, func(p Problem) bool { return inside(p.Path) })
}

func splitList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

func (r *report) unknownEnv(name string, known map[string][]setting) {
	p := Problem{Path: name, Env: name, Message: "environment variable names no key of the configuration",
		Remedy: "unset it; the names are in config describe, and entries of lists must be in the file"}
	// The secret's own name, without _FILE, is the mistake that is made most.
	if _, ok := known[name+"_FILE"]; ok {
		p.Remedy = "secrets are not read from variables: put it into a file and name that with " + name + "_FILE"
	} else if near, ok := nearest(strings.TrimPrefix(name, EnvPrefix), lowered(known)); ok {
		p.Remedy = "did you mean " + EnvPrefix + strings.ToUpper(near) + "?"
	}
	r.problems = append(r.problems, p)
}

// lowered lists the variables without their prefix, which would make all of them look alike.
func lowered(known map[string][]setting) []string {
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, strings.ToLower(strings.TrimPrefix(name, EnvPrefix)))
	}
	slices.Sort(names)
	return names
}

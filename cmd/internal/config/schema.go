package config

import (
	"reflect"
	"strings"
	"time"
)

// EnvPrefix begins the name of every environment variable that overrides a key.
const EnvPrefix = "PRESENCE_BRIDGE_"

// Key describes one key of the configuration.
type Key struct {
	Path     string // with [] for the entries of a list, for example accounts[].graph.tenant_id
	Type     string // in words, with its unit
	Default  string // as one writes it, empty if none
	Min, Max string // limits, empty if none
	OneOf    []string
	Env      string // variable that overrides it, <NAME> standing for entries of a list; empty if none
	Doc      string
	Group    bool // holds other keys rather than a value
}

// Keys lists every key in the order of the structs.
func Keys() []Key {
	return structKeys(reflect.TypeFor[Config](), "", EnvPrefix)
}

func structKeys(t reflect.Type, path, env string) []Key {
	var keys []Key
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("yaml"); name != "-" {
			keys = append(keys, fieldKeys(f, join(path, name), env)...)
		}
	}
	return keys
}

func fieldKeys(f reflect.StructField, path, env string) []Key {
	name := f.Tag.Get("yaml")
	k := Key{
		Path: path, Type: typeName(f), Default: f.Tag.Get("default"), Min: f.Tag.Get("min"), Max: f.Tag.Get("max"),
		OneOf: strings.Fields(f.Tag.Get("oneof")), Doc: f.Tag.Get("doc"), Env: env + envToken(name),
	}
	switch kindOf(f.Type) {
	case kindGroup:
		k.Group, k.Env = true, ""
		return append([]Key{k}, structKeys(f.Type, path, env+envToken(name)+"_")...)
	case kindItems:
		item := f.Tag.Get("item")
		inner := env + envToken(name) + "_<NAME>_"
		k.Group = true
		if item != "-" {
			k.Env = ""
		}
		sub := structKeys(f.Type.Elem(), path+"[]", inner)
		for i := range sub {
			if item == "-" || sub[i].Path == path+"[]."+item {
				sub[i].Env = "" // the key that tells entries apart cannot be overridden
			}
		}
		return append([]Key{k}, sub...)
	case kindRaw:
		k.Group, k.Env = true, ""
	case kindScalar, kindStrings:
	}
	return []Key{k}
}

// kind is how a field is decoded.
type kind int

const (
	kindScalar  kind = iota
	kindGroup        // a struct
	kindItems        // a list of structs
	kindStrings      // a list of strings
	kindRaw          // kept as text
)

func kindOf(t reflect.Type) kind {
	switch {
	case t == reflect.TypeFor[Policy]():
		return kindRaw
	case t.Kind() == reflect.Struct:
		return kindGroup
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return kindItems
	case t.Kind() == reflect.Slice:
		return kindStrings
	}
	return kindScalar
}

// typeName says in words what a field takes.
func typeName(f reflect.StructField) string {
	switch f.Type {
	case reflect.TypeFor[Policy]():
		return "policy"
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[Sync]():
		return "always, or a duration"
	}
	switch kindOf(f.Type) {
	case kindGroup:
		return "group"
	case kindItems:
		if f.Tag.Get("short") != "" {
			return "list of text or of groups"
		}
		return "list of groups"
	case kindStrings:
		return "list of text"
	case kindScalar, kindRaw:
	}
	switch f.Type.Kind() {
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	}
	switch f.Tag.Get("path") {
	case "file":
		return "file name"
	case "dir":
		return "folder name"
	}
	if oneof := f.Tag.Get("oneof"); oneof != "" {
		return "one of " + strings.Join(strings.Fields(oneof), ", ")
	}
	return "text"
}

// envToken is a key's or an entry's part of an environment name.
func envToken(name string) string {
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fieldByKey finds the field of struct t that a key names.
func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("yaml") == key && key != "-" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// keysOf lists the keys of struct t.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "-" {
			keys = append(keys, name)
		}
	}
	return keys
}

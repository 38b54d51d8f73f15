package config

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// set stores a value's text in a field and checks it against the field's limits.
func (r *report) set(v reflect.Value, f reflect.StructField, text, path string) {
	if err := parseInto(v, text); err != nil {
		r.add(path, fmt.Sprintf("%q %v", clip(text), err), numberRemedy(v, f))
		return
	}
	if oneof := strings.Fields(f.Tag.Get("oneof")); len(oneof) > 0 && !slices.Contains(oneof, text) {
		r.add(path, fmt.Sprintf("%q is not supported", clip(text)), "use one of "+strings.Join(oneof, ", "))
		return
	}
	r.limits(v, f, text, path)
}

// numberRemedy says what to write for a number. The errors of the other types say it themselves.
func numberRemedy(v reflect.Value, f reflect.StructField) string {
	low, high := f.Tag.Get("min"), f.Tag.Get("max")
	switch v.Addr().Interface().(type) {
	case *int, *float64:
		if low != "" && high != "" {
			return fmt.Sprintf("use %s to %s", low, high)
		}
	}
	return ""
}

func (r *report) limits(v reflect.Value, f reflect.StructField, text, path string) {
	if f.Type == reflect.TypeFor[Sync]() && v.Int() == int64(SyncAlways) {
		return
	}
	low, high := f.Tag.Get("min"), f.Tag.Get("max")
	if low != "" && compare(v, low) < 0 {
		r.add(path, fmt.Sprintf("%s is too small", text), fmt.Sprintf("use %s to %s", low, high))
	}
	if high != "" && compare(v, high) > 0 {
		r.add(path, fmt.Sprintf("%s is too large", text), fmt.Sprintf("use %s to %s", low, high))
	}
}

// compare orders a field's value and a limit as it stands in a tag. The tags are checked by a test.
func compare(v reflect.Value, limit string) int {
	bound := reflect.New(v.Type()).Elem()
	if parseInto(bound, limit) != nil {
		return 0
	}
	if v.Kind() == reflect.Float64 {
		return cmp.Compare(v.Float(), bound.Float())
	}
	return cmp.Compare(v.Int(), bound.Int())
}

// parseInto reads text as the type of v. Its errors are the rest of a sentence that begins with the text.
func parseInto(v reflect.Value, text string) error {
	var err error
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *time.Duration:
		*p, err = parseDuration(text)
	case *Size:
		*p, err = parseSize(text)
	case *Sync:
		*p, err = parseSync(text)
	case *int:
		if *p, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("is not a whole number")
		}
	case *float64:
		if *p, err = strconv.ParseFloat(text, 64); err != nil || math.IsNaN(*p) || math.IsInf(*p, 0) {
			return fmt.Errorf("is not a number")
		}
	default:
		return fmt.Errorf("is of a type that cannot be read")
	}
	return err
}

// applyDefaults fills a struct with its defaults, groups included. Entries of lists get theirs when they appear.
func applyDefaults(v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if kindOf(f.Type) == kindGroup {
			applyDefaults(v.Field(i))
			continue
		}
		if text := f.Tag.Get("default"); text != "" {
			_ = parseInto(v.Field(i), text) // a test reads every default
		}
	}
}

// clip shortens a value for a message.
func clip(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// nearest finds the word closest to a misspelt one, if one is close enough to be meant.
func nearest(word string, known []string) (string, bool) {
	best, at := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < at {
			best, at = k, d
		}
	}
	return best, best != ""
}

// distance counts the letters to insert, drop, replace or swap to get from a to b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b)) // no key is as long
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

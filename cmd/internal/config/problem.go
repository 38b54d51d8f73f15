package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, or worth a remark, in the configuration. It never holds the value of a
// secret.
type Problem struct {
	Path    string // the key, for example accounts[0].graph.tenant_id; empty for the file as a whole
	Line    int    // in the file, 0 if unknown
	Env     string // the environment variable that set the key, empty if none
	Message string // what is wrong
	Remedy  string // what to do about it
}

// String writes the problem in one line, without the file.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	if p.Env != "" && p.Env != p.Path {
		b.WriteString("(set by " + p.Env + ") ")
	}
	b.WriteString(p.Message)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// Error is everything that is wrong with a configuration.
type Error struct {
	File     string // as it was given; empty if there was none
	Problems []Problem
}

// Error lists all problems, one a line.
func (e *Error) Error() string {
	var b strings.Builder
	file := cmp.Or(e.File, "configuration")
	if len(e.Problems) == 1 {
		return file + ": " + e.Problems[0].String()
	}
	fmt.Fprintf(&b, "%s: %d problems:", file, len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// report collects problems and knows where each key stands.
type report struct {
	lines    map[string]int    // by path
	env      map[string]string // by path: the variable that set it
	broken   map[string]bool   // paths that have a problem already: what follows from it is not told
	problems []Problem
	warnings []Problem
}

func newReport() *report {
	return &report{lines: map[string]int{}, env: map[string]string{}, broken: map[string]bool{}}
}

// add reports a problem with a key, unless that key has one already.
func (r *report) add(path, message, remedy string) {
	if r.broken[path] {
		return
	}
	r.broken[path] = true
	r.problems = append(r.problems, r.locate(path, message, remedy))
}

func (r *report) warn(path, message, remedy string) {
	r.warnings = append(r.warnings, r.locate(path, message, remedy))
}

// locate finds the line of a key, or of the nearest key above it that is in the file.
func (r *report) locate(path, message, remedy string) Problem {
	p := Problem{Path: path, Env: r.env[path], Message: message, Remedy: remedy}
	if p.Env != "" {
		return p
	}
	for at := path; at != ""; at = parent(at) {
		if line, ok := r.lines[at]; ok {
			p.Line = line
			break
		}
	}
	return p
}

// parent of "a[0].b" is "a[0]", whose parent is "a".
func parent(path string) string {
	i := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['))
	return path[:max(i, 0)]
}

// sorted returns problems by line; those without one come last, in the order they were found in.
func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Compare(uint(a.Line-1), uint(b.Line-1))
	})
	return problems
}

package config

import (
	"bytes"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// raw keeps a mapping's text for a parser of its own. The text is cut out of the source and preceded by as many
// empty lines as came before it there, so that the lines which that parser names are the file's.
func (d *decoder) raw(v reflect.Value, n ast.Node, path string) {
	n = d.resolve(n)
	if _, null := n.(*ast.NullNode); null {
		return
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		d.add(path, "must be a mapping of keys to values", "for example {preset: micollab}")
		return
	}
	var want any
	if err := yaml.NodeToValue(n, &want); err != nil {
		d.add(path, "cannot be read on its own", "anchors must be defined inside it, and keys be given once")
		return
	}
	text := d.cut(m)
	var got any
	if err := yaml.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
		text = []byte(n.String()) // cut wrongly: the meaning matters more than the lines
	}
	v.Set(reflect.ValueOf(Policy{YAML: text}))
}

// cut returns the source lines of a mapping. Of a flow mapping ({...}), only what is between its braces.
func (d *decoder) cut(m ast.MapNode) []byte {
	lines := strings.SplitAfter(string(d.src), "\n")
	first, last := 1<<30, 0
	span := spanVisitor{first: &first, last: &last}
	node, _ := m.(ast.Node)
	ast.Walk(span, node)
	if first < 1 || last > len(lines) || first > last {
		return nil
	}
	out := bytes.NewBuffer(bytes.Repeat([]byte("\n"), first-1))
	flow, ok := node.(*ast.MappingNode)
	if !ok || !flow.IsFlowStyle {
		out.WriteString(strings.Join(lines[first-1:last], ""))
		return out.Bytes()
	}
	text := strings.Join(lines[first-1:flow.End.Position.Line], "")
	from, to := strings.IndexByte(text, '{'), strings.LastIndexByte(text, '}')
	if from < 0 || to < from {
		return nil
	}
	out.WriteString(text[from : to+1])
	return out.Bytes()
}

// spanVisitor finds the first and the last line that a node's tokens stand on.
type spanVisitor struct{ first, last *int }

// Visit implements [ast.Visitor].
func (s spanVisitor) Visit(n ast.Node) ast.Visitor {
	token := n.GetToken()
	if token == nil || token.Position == nil {
		return s
	}
	line := token.Position.Line
	*s.first = min(*s.first, line)
	// A text over several lines begins at its token and ends later.
	*s.last = max(*s.last, line+strings.Count(strings.TrimSpace(token.Origin), "\n"))
	return s
}

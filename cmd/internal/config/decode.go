package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder fills the structs from a YAML document. The YAML library's own decoder stops at the first unknown key
// and forgets lines; this one walks its syntax tree, reports everything, and remembers where each key stood.
type decoder struct {
	*report
	src     []byte
	anchors map[string]ast.Node
	parsed  bool // the text was YAML at all: its values are worth looking at
	merges  int  // mappings merged so far
}

// document decodes the text into root, a struct, on top of the defaults.
func (d *decoder) document(root reflect.Value) {
	applyDefaults(root)
	file, err := parser.ParseBytes(d.src, 0)
	if err != nil {
		d.syntax(err)
		return
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); doc.Body == nil || directive {
			continue // %YAML 1.2
		}
		if body != nil {
			d.lines["---"] = doc.Body.GetToken().Position.Line
			d.add("---", "the file holds more than one document", "keep one and remove the --- before the others")
			return
		}
		body = doc.Body
	}
	d.parsed = true
	if body == nil {
		return // every key is absent
	}
	d.collectAnchors(body)
	d.group(root, body, "")
}

// syntax reports that the text is no YAML. The library's own text would quote the lines around, which may hold
// anything; only its message and the line are kept.
func (d *decoder) syntax(err error) {
	p := Problem{Message: "is not YAML", Remedy: "check indentation, colons and quotes around this line"}
	if e, ok := err.(yaml.Error); ok { //nolint:errorlint // the parser returns its errors bare
		p.Message = "is not YAML: " + e.GetMessage()
		if token := e.GetToken(); token != nil && token.Position != nil {
			p.Line = token.Position.Line
		}
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) collectAnchors(body ast.Node) {
	d.anchors = map[string]ast.Node{}
	for _, n := range ast.Filter(ast.AnchorType, body) {
		if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
			d.anchors[a.Name.GetToken().Value] = a.Value
		}
	}
}

// resolve follows aliases and looks through anchors and tags. It returns nil for an alias that leads nowhere.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for range 32 { // an alias to itself ends here
		switch t := n.(type) {
		case *ast.AnchorNode:
			n = t.Value
		case *ast.TagNode:
			n = t.Value
		case *ast.AliasNode:
			n = d.anchors[t.Value.GetToken().Value]
		default:
			return n
		}
	}
	return nil
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	line  int
	value ast.Node
}

// maxMerges bounds the work of << that merge one another.
const maxMerges = 10_000

// entries lists a mapping's keys, those merged in by << first, so that the mapping's own come last and win.
func (d *decoder) entries(m ast.MapNode, depth int) []entry {
	var merged, own []entry
	for it := m.MapRange(); it.Next(); {
		if !it.Key().IsMergeKey() {
			own = append(own, entry{key: keyText(it.Key()), line: it.Key().GetToken().Position.Line, value: it.Value()})
			continue
		}
		sources := []ast.Node{it.Value()}
		if list, ok := d.resolve(it.Value()).(*ast.SequenceNode); ok {
			sources = list.Values
		}
		for _, source := range sources {
			from, ok := d.resolve(source).(ast.MapNode)
			if d.merges++; d.merges > maxMerges {
				d.add("<<", "the file merges mappings too many times", "write some of them out")
				return nil
			}
			if ok && depth < 8 {
				merged = append(d.entries(from, depth+1), merged...) // the first source named wins
			}
		}
	}
	return append(merged, own...)
}

func keyText(key ast.MapKeyNode) string {
	switch k := key.(type) {
	case *ast.StringNode:
		return k.Value
	case *ast.MappingKeyNode:
		if k.Value != nil {
			return k.Value.GetToken().Value
		}
	}
	return key.GetToken().Value
}

// group decodes a mapping into a struct.
func (d *decoder) group(v reflect.Value, n ast.Node, path string) {
	n = d.resolve(n)
	if _, null := n.(*ast.NullNode); null {
		return // "key:" with nothing after it is the same as no key
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		d.add(path, "must be a mapping of keys to values", "the keys are "+strings.Join(keysOf(v.Type()), ", "))
		return
	}
	for _, e := range d.entries(m, 0) {
		at := join(path, e.key)
		f, known := fieldByKey(v.Type(), e.key)
		if !known {
			d.unknown(v.Type(), path, e)
			continue
		}
		d.lines[at] = e.line
		d.field(v.FieldByIndex(f.Index), f, e.value, at)
	}
}

func (d *decoder) field(v reflect.Value, f reflect.StructField, n ast.Node, path string) {
	switch kindOf(f.Type) {
	case kindGroup:
		d.group(v, n, path)
	case kindItems:
		d.items(v, f, n, path)
	case kindStrings:
		d.strings(v, n, path)
	case kindRaw:
		d.raw(v, n, path)
	case kindScalar:
		if text, ok := d.scalar(n, path); ok {
			d.set(v, f, text, path)
		}
	}
}

// items decodes a list of structs.
func (d *decoder) items(v reflect.Value, f reflect.StructField, n ast.Node, path string) {
	list, ok := d.sequence(n, path, "a list of groups, each beginning with - "+keysOf(f.Type.Elem())[0]+":")
	if !ok {
		return
	}
	v.Set(reflect.MakeSlice(f.Type, len(list), len(list)))
	for i, n := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if n != nil {
			d.lines[at] = n.GetToken().Position.Line
		}
		applyDefaults(v.Index(i))
		if short := f.Tag.Get("short"); short != "" && d.short(v.Index(i), short, n, at) {
			continue
		}
		d.group(v.Index(i), n, at)
	}
}

// short takes an item that is written as one value for that value of the named key. False: it is no single value.
func (d *decoder) short(v reflect.Value, key string, n ast.Node, path string) bool {
	f, ok := fieldByKey(v.Type(), key)
	_, null := d.resolve(n).(*ast.NullNode)
	_, scalar := d.resolve(n).(ast.ScalarNode)
	if !ok || null || !scalar {
		return false
	}
	if text, ok := d.scalar(n, path); ok {
		d.set(v.FieldByIndex(f.Index), f, text, path)
	}
	return true
}

func (d *decoder) strings(v reflect.Value, n ast.Node, path string) {
	list, ok := d.sequence(n, path, "a list, each entry beginning with -")
	if !ok {
		return
	}
	texts := make([]string, 0, len(list))
	for i, n := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if n != nil {
			d.lines[at] = n.GetToken().Position.Line
		}
		text, _ := d.scalar(n, at)
		texts = append(texts, text)
	}
	v.Set(reflect.ValueOf(texts))
}

func (d *decoder) sequence(n ast.Node, path, want string) ([]ast.Node, bool) {
	n = d.resolve(n)
	if _, null := n.(*ast.NullNode); null {
		return nil, false
	}
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		d.add(path, "must be a list", "write "+want)
		return nil, false
	}
	return list.Values, true
}

// scalar returns a single value's text; nothing at all for null, which is the same as an absent key.
func (d *decoder) scalar(n ast.Node, path string) (string, bool) {
	switch t := d.resolve(n).(type) {
	case *ast.NullNode:
		return "", false
	case *ast.StringNode:
		return t.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(t.Value.Value), true
	case ast.ScalarNode:
		return t.GetToken().Value, true
	case nil:
		d.add(path, "refers to an anchor that does not exist", "define it with & before it is used, or write the value out")
	default:
		d.add(path, "must be a single value", "write it after the colon, on the same line")
	}
	return "", false
}

// unknown reports a key that does not exist, with the remedy that fits best. It never shows the value.
func (d *decoder) unknown(t reflect.Type, path string, e entry) {
	at := join(path, e.key)
	d.lines[at] = e.line
	known := keysOf(t)
	if _, ok := fieldByKey(t, e.key+"_file"); ok {
		d.add(at, "secrets are not written into the configuration", fmt.Sprintf("put it into a file and name that with %s_file", e.key))
		return
	}
	if near, ok := nearest(e.key, known); ok {
		d.add(at, "unknown key", fmt.Sprintf("did you mean %s?", near))
		return
	}
	if homes := homesOf(e.key); len(homes) > 0 {
		d.add(at, "unknown key here", "it belongs at "+strings.Join(homes, " or "))
		return
	}
	d.add(at, "unknown key", "known here are "+strings.Join(known, ", "))
}

// homesOf lists the places where a key of this name exists.
func homesOf(name string) []string {
	var homes []string
	for _, k := range Keys() {
		if k.Path == name || strings.HasSuffix(k.Path, "."+name) {
			homes = append(homes, k.Path)
		}
	}
	return homes
}

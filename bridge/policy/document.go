package policy

import (
	"bytes"
	"fmt"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ParseFile reads a file that holds a policy by itself: what stands under `policy:` in a configuration, with that key or
// without it. Lines are the file's.
func ParseFile(src []byte) (*Policy, error) {
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, syntaxError(err)
	}
	for _, doc := range file.Docs {
		top, ok := doc.Body.(*ast.MappingNode)
		if !ok || top.IsFlowStyle || len(top.Values) != 1 || top.Values[0].Key.GetToken().Value != "policy" {
			continue
		}
		at := top.Values[0].Key.GetToken().Position
		lines := bytes.SplitAfter(src, []byte("\n"))
		if at.Line < 1 || at.Line > len(lines) {
			break
		}
		// Blanks in place of the key leave what stands under it, where it stands.
		line := lines[at.Line-1]
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return nil, fmt.Errorf("line %d: write policy: on a line of its own, and the rules under it", at.Line)
		}
		blank := bytes.Repeat([]byte(" "), colon+1)
		lines[at.Line-1] = append(blank, line[colon+1:]...)
		return Parse(bytes.Join(lines, nil))
	}
	return Parse(src)
}

// Where says where a rule stands, for people to find it: in which line of a file, or in which preset.
func (p *Policy) Where(file string, line int, path string) string {
	switch {
	case path == "":
		return "no rule"
	case line > 0:
		return fmt.Sprintf("%s:%d %s", file, line, path)
	case p.Preset != "":
		return fmt.Sprintf("preset %s, %s", p.Preset, path)
	default:
		return "a preset's " + path
	}
}

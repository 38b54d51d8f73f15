package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// speller writes a JSON value in one of its many spellings: member order, white space, escapes, members
// that nobody knows, and, if asked for, trailing commas.
type speller struct {
	t      *rapid.T
	commas bool
	wrote  bool // a trailing comma was written
}

func (s *speller) pick(n int) int { return rapid.IntRange(0, n-1).Draw(s.t, "pick") }

func (s *speller) space() string {
	return []string{"", "", "", " ", "\n", "\t", "\r\n  "}[s.pick(7)]
}

func (s *speller) value(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return s.object(v)
	case []any:
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = s.space() + s.value(v[i]) + s.space()
		}
		return "[" + s.join(parts) + "]"
	case string:
		return s.text(v)
	default:
		b, err := json.Marshal(v)
		require.NoError(s.t, err)
		return string(b)
	}
}

func (s *speller) object(m map[string]any) string {
	var parts []string
	for name, v := range m {
		parts = append(parts, s.space()+s.text(name)+s.space()+":"+s.space()+s.value(v)+s.space())
	}
	for i := range s.pick(3) {
		parts = append(parts, fmt.Sprintf(`"x-%d":{"clientState":["no",{"id":-1.5e3}],"value":[true,false,null]}`, i))
	}
	for i := range parts { // Go's own order of maps does not come from rapid
		j := s.pick(len(parts))
		parts[i], parts[j] = parts[j], parts[i]
	}
	return "{" + s.join(parts) + "}"
}

func (s *speller) join(parts []string) string {
	list := strings.Join(parts, ",")
	if s.commas && len(parts) > 0 && s.pick(3) == 0 {
		s.wrote = true
		list += "," + s.space()
	}
	return list
}

func (s *speller) text(text string) string {
	every := []int{1, 7, 1 << 20}[s.pick(3)] // which characters are escaped; mostly none
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range text {
		switch {
		case i%every != every-1 && r >= ' ' && r != '"' && r != '\\':
			b.WriteRune(r)
		case r == '/':
			b.WriteString(`\/`)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, u)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}

// generic turns a body into maps and slices.
func generic(t require.TestingT, body []byte) map[string]any {
	var m map[string]any
	require.NoError(t, json.Unmarshal(body, &m))
	return m
}

// TestSpellingDoesNotMatter decodes one body in many spellings.
func TestSpellingDoesNotMatter(t *testing.T) {
	w := newWorld(t)
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")), nil, 7,
		with(richItem(alice, w.seal(alice, "Busy", "Busy")), map[string]any{"encryptedContent": nil, "clientState": "другой"}),
		map[string]any{"clientState": goodState, "lifecycleEvent": "missed", "tenantId": nil},
		with(richItem(alice, w.seal(appID, "Away", "Away")), nil))
	want := w.decode(body)
	value := generic(t, body)
	for _, commas := range []bool{false, true} {
		rapid.Check(t, func(t *rapid.T) {
			s := &speller{t: t, commas: commas}
			text := []byte(s.space() + s.value(value) + s.space())
			got := w.decode(text)
			require.NoError(t, got.Err, "%s", text)
			require.Equal(t, want.Items, got.Items)
			require.Equal(t, s.wrote, got.Oddities.Has(OddityTrailingComma))
			require.Equal(t, s.wrote, !json.Valid(text))
			agree(t, w, text)
		})
	}
}

// TestEveryPrefixIsRefused: a body that was cut anywhere is not half believed.
func TestEveryPrefixIsRefused(t *testing.T) {
	w := newWorld(t)
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")))
	for i := range body {
		r := w.decode(body[:i])
		require.Equal(t, ReasonMalformedBody, ReasonOf(r.Err), "cut at %d", i)
		require.Empty(t, r.Items)
		require.Error(t, ScanHeads(body[:i], func(Head) bool { return true }))
	}
}

// TestTwoTopLevelValues: what follows a body is not ignored.
func TestTwoTopLevelValues(t *testing.T) {
	w := newWorld(t)
	body := bodyOf(t, []string{w.token()}, richItem(alice, w.seal(alice, "Busy", "InACall")))
	for _, tail := range []string{"{}", " null", "x", ",", "]", "\x00", string(body)} {
		r := w.decode(append(clone(body), tail...))
		assert.Equal(t, ReasonMalformedBody, ReasonOf(r.Err), "%.10q", tail)
		assert.Empty(t, r.Items)
	}
	assert.NoError(t, w.decode(append(clone(body), " \r\n\t"...)).Err)
}

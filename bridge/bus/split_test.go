package bus

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplitKeepsItemsAndTokens(t *testing.T) {
	var items []string
	for i := range 50 {
		items = append(items, fmt.Sprintf(`{ "id":%d, "s":"],}\"[{ é", "nested":[[1],{"value":[2]}] }`, i))
	}
	body := []byte(` { "validationTokens":["t1","t2"], "value":[` + strings.Join(items, " , ") + `], "@odata.context":null }`)
	const limit = 700
	parts, err := split(body, limit)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(parts), 5)
	var got []json.RawMessage
	for _, part := range parts {
		require.LessOrEqual(t, len(part), limit)
		var env struct {
			Value   []json.RawMessage `json:"value"`
			Tokens  []string          `json:"validationTokens"`
			Context json.RawMessage   `json:"@odata.context"`
		}
		require.NoError(t, json.Unmarshal(part, &env))
		require.Equal(t, []string{"t1", "t2"}, env.Tokens, "every part has the tokens")
		require.Equal(t, "null", string(env.Context))
		got = append(got, env.Value...)
	}
	require.Len(t, got, len(items))
	for i, item := range got {
		require.Equal(t, items[i], string(item), "byte for byte, in order")
	}
}

func TestSplitOddities(t *testing.T) {
	for name, body := range map[string]string{
		"trailing commas, as in Microsoft's sample": `{"value":[{"a":1},{"b":2},],}`,
		"escaped and differently cased name":        `{"\u0056alue":[{"a":1},{"b":2}]}`,
		"value given twice":                         `{"value":[{"a":1}],"value":[{"b":2}]}`,
	} {
		parts, err := split([]byte(body), 20)
		require.NoError(t, err, name)
		require.Equal(t, []string{`{"value":[{"a":1}]}`, `{"value":[{"b":2}]}`}, []string{string(parts[0]), string(parts[1])}, name)
	}
}

func TestSplitRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"one item too large": `{"value":[{"a":"` + strings.Repeat("x", 100) + `"}]}`,
		"tokens too large":   `{"value":[],"validationTokens":["` + strings.Repeat("x", 100) + `"]}`,
		"not JSON":           strings.Repeat("x", 100),
		"not an object":      `[` + strings.Repeat("1,", 100) + `1]`,
		"cut off":            `{"value":[{"a":1},{"b":"` + strings.Repeat("x", 100),
		"something after":    `{"value":[]} {"value":[` + strings.Repeat("1,", 100) + `1]}`,
		"nested too deep":    `{"value":[` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `]}`,
		"missing value":      `{"value":[,` + strings.Repeat("1,", 100) + `1]}`,
		"missing member":     `{"a":,"value":[` + strings.Repeat("1,", 100) + `1]}`,
		"empty":              ``,
	} {
		_, err := split([]byte(body), 50)
		require.ErrorIs(t, err, ErrTooLarge, name)
	}
}

// FuzzSplit: whatever a stranger sends, splitting ends, keeps its limit, and never loses, adds or
// changes an item of a body that is valid.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{
		`{"value":[{"id":1},{"id":2}],"validationTokens":["a"]}`,
		`{"value":[1,"]",{"value":[{}]},null,true,-1.5e3,],"x":{"y":[{}]}}`,
		`{"value":{"a":1}}`, `{"value":[]}`, `{}`, `[]`, ``, `{"value":[`, `{"a":"\"","VALUE":[[]]}`,
		`{"value":[1],"value":[2]}`, "{\"\\u0076alue\":[\"\\\\\"]}",
	} {
		f.Add([]byte(s), 40)
	}
	f.Fuzz(func(t *testing.T, body []byte, limit int) {
		parts, err := split(body, limit)
		if err != nil {
			require.ErrorIs(t, err, ErrTooLarge)
			return
		}
		var items []string
		whole, err := scanEnvelope(body)
		require.NoError(t, err)
		for _, part := range parts {
			require.LessOrEqual(t, len(part), limit)
			env, err := scanEnvelope(part)
			require.NoError(t, err)
			require.Equal(t, asStrings(whole.others), asStrings(env.others))
			items = append(items, asStrings(env.items)...)
			if json.Valid(body) {
				require.True(t, json.Valid(part), "%q", part)
			}
		}
		require.Equal(t, asStrings(whole.items), items)
		var plain map[string]json.RawMessage
		if json.Unmarshal(body, &plain) == nil && len(plain) == 1 && strings.Count(strings.ToLower(string(body)), "value") == 1 {
			var want []json.RawMessage
			if json.Unmarshal(plain["value"], &want) == nil && want != nil {
				require.Len(t, items, len(want))
			}
		}
	})
}

func asStrings(bs [][]byte) []string {
	var ss []string
	for _, b := range bs {
		ss = append(ss, string(b))
	}
	return ss
}

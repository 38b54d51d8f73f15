package graph

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// accepts tells whether the scanner takes a whole document as JSON.
func accepts(doc []byte) bool {
	s := scanner{b: doc}
	s.skip(maxDepth)
	return s.end()
}

func TestScannerIsAsStrictAsEncodingJSON(t *testing.T) {
	for _, doc := range []string{
		``, ` `, `{}`, `[]`, `{ }`, `[ ]`, `""`, `0`, `-0`, `01`, `1.`, `.5`, `1e5`, `1E+05`, `1e`, `-`, `+1`, `1 2`, `true`, `tru`, `truex`, `null`, `nul`, `False`,
		`"a`, `"\`, `"\"`, `"\n"`, `"\x"`, `"\u12"`, `"\u1234"`, `"\ud800"`, "\"\x00\"", "\"\x1f\"", "\"\xff\"", "\"\x7f\"",
		`{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":1}}`, `[1,]`, `[,1]`, `[1 2]`, `[1`, `]`, `{"a":[{"b":[]}]}`,
		"\ufeff{}", "\t\n\r [\t1\n,\r2 ]\n", `{"a":"b\u0000"}`, "{}\x00", "\x00", `{"a" : 1 , "b" : [ true , false , null ] }`,
	} {
		require.Equal(t, json.Valid([]byte(doc)), accepts([]byte(doc)), "%q", doc)
	}
}

func TestScannerBoundsDepth(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	require.True(t, accepts(deep(maxDepth/2)))
	require.False(t, accepts(deep(10_000_000)), "and does not fall over")
	require.False(t, accepts([]byte(strings.Repeat(`{"a":`, 1_000_000))))
}

func TestScannedStrings(t *testing.T) {
	for doc, want := range map[string]string{
		`"plain"`: "plain", `""`: "", `"ü"`: "ü", `"\u00fc\n"`: "ü\n", `"\ud83d\ude00"`: "😀", "\"\xff\"": "\ufffd", `"\\\""`: `\"`,
		`5`: "", `null`: "", `["x"]`: "", `{"x":"y"}`: "",
	} {
		s := scanner{b: []byte(doc)}
		require.Equal(t, want, string(s.str(maxDepth)), doc)
		require.True(t, s.end(), doc)
	}
	for doc, want := range map[string]string{`true`: "true", `false`: "false", `null`: "nil", `"true"`: "nil", `1`: "nil", `tru`: "nil"} {
		s := scanner{b: []byte(doc)}
		got := "nil"
		if b := s.boolean(maxDepth); b != nil {
			got = map[bool]string{true: "true", false: "false"}[*b]
		}
		require.Equal(t, want, got, doc)
	}
}

// FuzzScanner: the scanner takes what encoding/json takes, and nothing else, within its depth.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,null,true,"\u00fc\\"]}`, `[[[[]]]]`, `"x`, `{"a":1,}`, "\"\xff\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if strings.Count(string(doc), "[")+strings.Count(string(doc), "{") > maxDepth/2 {
			accepts(doc)
			return
		}
		if accepts(doc) != json.Valid(doc) {
			t.Fatalf("scanner %v, encoding/json %v: %q", accepts(doc), json.Valid(doc), doc)
		}
	})
}

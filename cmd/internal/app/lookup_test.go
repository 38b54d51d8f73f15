package app

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNearest(t *testing.T) {
	all := []named{
		{id: "1", upn: "anna.adler@contoso.example", name: "Anna Adler", extensions: []string{"1007"}},
		{id: "2", upn: "ben.berg@contoso.example", mail: "b.berg@contoso.example", name: "Ben Berg", extensions: []string{"1008"}},
		{id: "3", upn: "hanna.adler@contoso.example", name: "Hanna Adler"},
	}
	for key, want := range map[string][]string{
		"ana.adler@contoso.example": {"anna.adler@contoso.example", "hanna.adler@contoso.example"},
		"ANNA ADLER":                {"anna.adler@contoso.example", "hanna.adler@contoso.example"},
		"adler":                     {"anna.adler@contoso.example", "hanna.adler@contoso.example"},
		"b.berg@elsewhere.example":  {"ben.berg@contoso.example"},
		"1009":                      {"anna.adler@contoso.example", "ben.berg@contoso.example"},
		"zebediah@contoso.example":  nil,
		"":                          nil,
	} {
		require.Equal(t, want, nearest(all, key), key)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"müller", "muller", 1}} {
		require.Equal(t, c.want, distance(c.a, c.b), "%s %s", c.a, c.b)
		require.Equal(t, c.want, distance(c.b, c.a), "%s %s", c.b, c.a)
	}
}

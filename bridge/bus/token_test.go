package bus

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var tokenForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

func TestToken(t *testing.T) {
	for in, want := range map[string]string{
		"main":                                 "main",
		"a-1":                                  "a-1",
		"6C1F9D2E-0000-4000-8000-00000000000A": "6c1f9d2e-0000-4000-8000-00000000000a",
		"6c1f9d2e-0000-4000-8000-00000000000a": "6c1f9d2e-0000-4000-8000-00000000000a",
		"":                                     "x-",
		"Main":                                 "x-4d61696e",
		"a.b":                                  "x-612e62",
		"*":                                    "x-2a",
		"x-61":                                 "x-782d3631", // what looks encoded is encoded again
		"h-abc":                                "x-682d616263",
		strings.Repeat("a", 64):                strings.Repeat("a", 64),
		strings.Repeat("A", 31):                "x-" + strings.Repeat("41", 31),
	} {
		require.Equal(t, want, token(in), "of %q", in)
	}
	for _, long := range []string{strings.Repeat("a", 65), strings.Repeat("A", 32)} {
		require.Regexp(t, `^h-[a-z2-7]{52}$`, token(long))
		_, ok := untoken(token(long))
		require.False(t, ok, "a hash has no inverse")
	}
}

func TestTokenProperties(t *testing.T) {
	key := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[a-z0-9-]{0,70}`),
		rapid.StringMatching(`[xh]-[0-9a-f]{0,64}`),
		rapid.StringMatching(`[0-9a-fA-F]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`))
	rapid.Check(t, func(t *rapid.T) {
		a, b := key.Draw(t, "a"), key.Draw(t, "b")
		require.Regexp(t, tokenForm, token(a))
		if back, ok := untoken(token(a)); ok && !isGUID(a) {
			require.Equal(t, a, back)
		}
		same := a == b || isGUID(a) && strings.EqualFold(a, b)
		require.Equal(t, same, token(a) == token(b), "tokens of %q and %q", a, b)
	})
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "a", "A.b>*", "x-61", "h-", strings.Repeat("ä", 40), "\x00\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok := token(s)
		require.Regexp(t, tokenForm, tok)
		if back, ok := untoken(tok); ok && !isGUID(s) {
			require.Equal(t, s, back)
		}
		m := casMsg("$KV.state.contoso."+tok, s, nil, 1)
		back, err := originalKey(tok, m.Header)
		require.NoError(t, err)
		require.Equal(t, s, back, "the key comes back as it was given")
	})
}

func TestAccountNames(t *testing.T) {
	for _, good := range []string{"contoso", "a", "9-9", strings.Repeat("a", 32)} {
		require.NoError(t, checkAccount(good))
	}
	for _, bad := range []string{"", "Contoso", "a.b", "*", ">", "x-1", "h-1", strings.Repeat("a", 33), "a b"} {
		require.ErrorIs(t, checkAccount(bad), ErrInvalid)
		require.ErrorContains(t, checkAccount(bad), "[a-z0-9-]", "the error names the remedy")
	}
}

func TestSideTokens(t *testing.T) {
	for in, want := range map[string]string{
		"teams":             "teams",
		"pbx.main.1001":     "pbx.main.1001",
		"pbx.Main.1001":     "pbx.x-4d61696e.1001",
		"pbx.main.a.b@c.de": "pbx.main." + token("a.b@c.de"),
	} {
		got, err := sideToken(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", "Teams", "pbx", "pbx.main", "pbx..1", "pbx.main.", "sip.main.1"} {
		_, err := sideToken(bad)
		require.ErrorIs(t, err, ErrInvalid, "side %q", bad)
	}
}

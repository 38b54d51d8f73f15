package bridge

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// declaredReasons are the constants of type Reason in this package's files, read from the source: a list by hand
// would be forgotten like a sentence.
func declaredReasons(t *testing.T) map[string]Reason {
	t.Helper()
	found := map[string]Reason{}
	names, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range names {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Reason" {
				return true
			}
			lit, ok := spec.Values[0].(*ast.BasicLit)
			require.True(t, ok, spec.Names[0].Name)
			word, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			found[spec.Names[0].Name] = Reason(word)
			return true
		})
	}
	return found
}

func TestEveryReasonHasASentence(t *testing.T) {
	reasons := declaredReasons(t)
	require.Greater(t, len(reasons), 20, "the source was read")
	words, texts := map[Reason]string{}, map[string]string{}
	for name, r := range reasons {
		require.True(t, strings.HasPrefix(name, "Reason"), name)
		require.Regexp(t, `^[a-z_]+$`, string(r), "%s is a metric label", name)
		require.Empty(t, words[r], "%s and %s are the same word", name, words[r])
		words[r] = name
		text := r.Text()
		require.NotEqual(t, string(r), text, "%s has no sentence in Reason.Text", name)
		require.Empty(t, texts[text], "%s and %s say the same", name, texts[text])
		texts[text] = name
		require.Greater(t, len(strings.Fields(text)), 5, "%s: %q is no sentence", name, text)
		require.NotContains(t, text, "assert", "%s: a support person does not know our words", name)
		require.False(t, strings.HasSuffix(text, "."), name)
	}
	require.Equal(t, "something_newer", Reason("something_newer").Text())
}

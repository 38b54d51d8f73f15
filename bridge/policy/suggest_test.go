package policy

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDidYouMean(t *testing.T) {
	for message, want := range map[string]string{
		`unknown field "activty"`:            "; did you mean activity?",
		`unknown field "teams_to_pbxs"`:      "; did you mean teams_to_pbx?",
		`unknown field "sets"`:               "; did you mean set?",
		`unknown field "frobnicate"`:         "",
		`unknown field "when"`:               "", // elsewhere it is one
		`something else is wanted here`:      "",
		`unknown field "ünïcödé_and_longer"`: "",
	} {
		require.Equal(t, want, didYouMean(message), message)
	}
}

// Every key that can be written is among those that are suggested.
func TestKeyWordsAreAll(t *testing.T) {
	var keys func(of reflect.Type)
	found := map[string]bool{}
	keys = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct {
			return
		}
		for i := range of.NumField() {
			f := of.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name == "" {
				continue
			}
			found[name] = true
			keys(f.Type)
		}
	}
	keys(reflect.TypeFor[yamlPolicy]())
	require.Greater(t, len(found), 15)
	for name := range found {
		require.Contains(t, keyWords(), name)
	}
}

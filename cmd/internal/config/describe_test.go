package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryKeyIsDocumented(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Describe(&out))
	keys := Keys()
	require.Greater(t, len(keys), 60)
	for _, k := range keys {
		require.NotEmpty(t, k.Doc, k.Path)
		require.True(t, strings.HasSuffix(k.Doc, "."), k.Path)
		require.Contains(t, out.String(), "\n"+k.Path+"\n", k.Path)
		require.Equal(t, k.Min == "", k.Max == "", "%s: limits come in pairs", k.Path)
		if !k.Group && !strings.HasSuffix(k.Path, "[].name") && !strings.HasPrefix(k.Path, "accounts[].monitors[]") && !strings.HasPrefix(k.Path, "accounts[].exclude[]") && !strings.HasPrefix(k.Path, "accounts[].graph.applications[]") {
			require.NotEmpty(t, k.Env, k.Path)
			require.Contains(t, out.String(), k.Env)
		}
	}
}

// The keys that the design fixes to the letter.
func TestFixedNames(t *testing.T) {
	have := map[string]bool{}
	for _, k := range Keys() {
		have[k.Path] = true
	}
	for path := range strings.FieldsSeq(`listen.webhook listen.admin public_url data_dir tls.certificate_file tls.key_file
		nats.url nats.credentials_file nats.ca_file nats.sync nats.max_store nats.min_free master_key_file webhook_key_file
		accounts accounts[].name accounts[].graph.tenant_id accounts[].graph.client_id accounts[].graph.client_secret_file
		accounts[].graph.certificate_file accounts[].graph.cloud accounts[].graph.endpoints.login accounts[].graph.endpoints.graph
		accounts[].graph.endpoints.ca_file accounts[].monitors[].upn accounts[].pbx[].name accounts[].pbx[].type accounts[].pbx[].url
		accounts[].pbx[].token_file accounts[].pbx[].ca_file accounts[].policy`) {
		require.True(t, have[path], path)
	}
}

// Defaults and limits are written in tags; what cannot be read would be ignored silently.
func TestTagsCanBeRead(t *testing.T) {
	checkTags(t, reflect.TypeFor[Config](), map[string]bool{
		"yaml": true, "default": true, "min": true, "max": true, "oneof": true, "path": true, "item": true, "short": true, "doc": true,
	})
}

func checkTags(t *testing.T, typ reflect.Type, known map[string]bool) {
	t.Helper()
	for i := range typ.NumField() {
		f := typ.Field(i)
		for part := range strings.SplitSeq(string(f.Tag), `" `) {
			name, _, _ := strings.Cut(part, ":")
			require.True(t, known[strings.TrimSpace(name)], "%s: tag %s", f.Name, name)
		}
		if f.Tag.Get("yaml") == "-" {
			continue
		}
		for _, tag := range []string{"default", "min", "max"} {
			if text := f.Tag.Get(tag); text != "" {
				require.NoError(t, parseInto(reflect.New(f.Type).Elem(), text), "%s %s", f.Name, tag)
			}
		}
		switch kindOf(f.Type) {
		case kindGroup:
			checkTags(t, f.Type, known)
		case kindItems:
			checkTags(t, f.Type.Elem(), known)
		case kindScalar, kindStrings, kindRaw:
		}
	}
}

func TestDescribeOneKey(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Describe(&out))
	require.Contains(t, out.String(), `
accounts[].pbx[].settle
    duration, 0 to 5m, default 1s
    env PRESENCE_BRIDGE_ACCOUNTS_<NAME>_PBX_<NAME>_SETTLE
    How long after an answered write a read may still show the state before, and is therefore not
    believed.
`)
}

func TestDescribeTellsWhenItCannotWrite(t *testing.T) {
	broken := errors.New("broken pipe")
	require.ErrorIs(t, Describe(failingWriter{broken}), broken)
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

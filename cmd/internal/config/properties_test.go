package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// scalars lists the keys that take one value, at the places where the minimal configuration can have them.
func scalars() []Key {
	return slices.DeleteFunc(Keys(), func(k Key) bool {
		return k.Group || k.Env == "" || k.Type == "list of text" || k.Type == "list of groups"
	})
}

// value returns a text that a key accepts, other than its default.
func value(k Key) string {
	switch {
	case strings.HasSuffix(k.Path, "polled_interval"):
		return "7s"
	case k.Type == "duration":
		return k.Max
	case k.Type == "size":
		return k.Min
	case k.Type == "always, or a duration":
		return "1s"
	case k.Type == "whole number" || k.Type == "number":
		return k.Max
	case len(k.OneOf) > 0:
		return k.OneOf[len(k.OneOf)-1]
	case strings.HasSuffix(k.Path, "_id"):
		return "01234567-89ab-cdef-0123-456789abcdef"
	case k.Path == "nats.url":
		return "nats://127.0.0.1:4222"
	case strings.HasPrefix(k.Path, "listen."):
		return "127.0.0.1:4711"
	case k.Path == "accounts[].pbx[].type":
		return "micollab"
	case strings.HasSuffix(k.Path, ".number_prefix"):
		return "+4930"
	case strings.HasSuffix(k.Path, ".region"):
		return "DE"
	case strings.HasSuffix(k.Path, ".username"):
		return "presence"
	case strings.HasSuffix(k.Path, ".domain"):
		return "sip.example.com"
	case strings.HasSuffix(k.Path, ".list_uri"):
		return "sip:everybody@sip.example.com"
	case strings.HasSuffix(k.Path, "_file") || k.Path == "data_dir":
		return "/somewhere/else"
	}
	return "https://127.0.0.1:4711"
}

// place writes one key into the minimal configuration, in place of what may stand there.
func place(path, text string) string {
	rest, inAccount := strings.CutPrefix(path, "accounts[].")
	if !inAccount {
		return nest(path, text, "") + minimal
	}
	if key, ok := strings.CutPrefix(rest, "pbx[]."); ok {
		return minimal[:strings.Index(minimal, "    pbx:")] + "    pbx:\n      - " + strings.Join(drop(
			pbxWith(key), key, text), "\n        ") + "\n"
	}
	if key, ok := strings.CutPrefix(rest, "graph."); ok && !strings.Contains(key, ".") {
		head, tail, _ := strings.Cut(minimal, "    graph:\n")
		return head + "    graph:\n      " + strings.Join(drop([]string{
			"tenant_id: 11111111-2222-3333-4444-555555555555", "client_id: 66666666-7777-8888-9999-aaaaaaaaaaaa", "client_secret_file: secret",
		}, key, text), "\n      ") + "\n" + tail[strings.Index(tail, "    pbx:"):]
	}
	if key, ok := strings.CutPrefix(rest, "graph."); ok {
		return strings.Replace(minimal, "    graph:\n", "    graph:\n"+nest(key, text, "      "), 1)
	}
	return minimal + nest(rest, text, "    ")
}

// pbxWith is a whole PBX of the first type that takes a key.
func pbxWith(key string) []string {
	lines := []string{"name: main", `url: "https://pbx.contoso.com"`}
	kinds := pbxKinds()
	i := max(0, slices.IndexFunc(kinds, func(k pbxKind) bool { return slices.Contains(slices.Concat(k.needs, k.takes), key) }))
	if kinds[i].name == typeSIP {
		lines = []string{"name: main", `url: "sip:pbx.contoso.com;transport=tls"`, "users_file: given"}
	}
	for _, need := range kinds[i].needs {
		lines = append(lines, need+": given")
	}
	return append(lines, "type: "+kinds[i].name)
}

// drop replaces the line of a key, or adds it.
func drop(lines []string, key, text string) []string {
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+":") })
	return append(lines, key+": '"+text+"'")
}

// nest writes a key with its groups around it. A list gets one entry.
func nest(path, text, indent string) string {
	var b strings.Builder
	entry := false
	for part := range strings.SplitSeq(path, ".") {
		if entry {
			part = "- " + part
		}
		if part, entry = strings.CutSuffix(part, "[]"); entry {
			b.WriteString(indent + part + ":\n")
			continue // the entry stands as far left
		}
		b.WriteString(indent + part + ":\n")
		indent += "  "
	}
	return strings.TrimSuffix(b.String(), "\n") + " '" + text + "'\n"
}

func variable(k Key) string {
	return strings.NewReplacer("ACCOUNTS_<NAME>", "ACCOUNTS_CONTOSO", "PBX_<NAME>", "PBX_MAIN").Replace(k.Env)
}

// outcome parses and returns what both ways of setting a key must agree in.
func outcome(src string, env ...string) (*Config, []string) {
	c, err := Parse("", []byte(src), Options{Env: env})
	if err == nil {
		return c, nil
	}
	var messages []string
	for _, p := range err.(*Error).Problems { //nolint:errorlint // Parse returns it bare, and anything else is a bug to see here
		messages = append(messages, p.Path+": "+p.Message+"; "+p.Remedy)
	}
	slices.Sort(messages)
	return nil, messages
}

// What a key means does not depend on whether the file or the environment sets it.
func TestFileAndEnvironmentAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(scalars()).Draw(t, "key")
		text := rapid.SampledFrom([]string{value(k), k.Default, k.Max, "0", "-1", "nonsense", "5", "1h", "7MiB", "a@b.c", "http://x"}).Draw(t, "text")
		if text == "" {
			t.Skip("the key has no such text")
		}
		base := minimal
		if strings.Contains(k.Path, "pbx[].") || !strings.Contains(minimal, " "+k.Path[strings.LastIndexByte(k.Path, '.')+1:]+":") {
			base = place(k.Path, value(k)) // the environment must win over the file as well
		}
		fromFile, fileProblems := outcome(place(k.Path, text))
		fromEnv, envProblems := outcome(base, variable(k)+"="+text)
		require.Equal(t, fileProblems, envProblems)
		if fromFile != nil {
			fromFile.Warnings, fromEnv.Warnings = nil, nil // they name where the key was set
		}
		require.Equal(t, fromFile, fromEnv)
	})
}

// Every key that is described can be written, and changes something.
func TestEveryKeyCanBeWritten(t *testing.T) {
	plain, _ := outcome(minimal)
	for _, k := range scalars() {
		c, messages := outcome(place(k.Path, value(k)))
		for _, m := range messages { // a pair of keys may be incomplete; the key itself was understood
			require.NotContains(t, m, "unknown key", k.Path)
			if !strings.Contains(m, "is given ") {
				require.NotContains(t, m, strings.ReplaceAll(k.Path, "[]", "[0]")+": ", k.Path)
			}
		}
		if c != nil && k.Path != "accounts[].pbx[].type" && k.Path != "log.level" {
			require.False(t, reflect.DeepEqual(plain, c), "%s changed nothing", k.Path)
		}
	}
}

// Whatever letter is missing, doubled or exchanged in a key, the error names the right one and the line.
func TestEveryMisspeltKeyIsRecognised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(scalars()).Draw(t, "key")
		at := strings.LastIndexByte(k.Path, '.') + 1
		name := k.Path[at:]
		if len(name) < 5 {
			t.Skip("a short word with an error may be any other")
		}
		i := rapid.IntRange(0, len(name)-2).Draw(t, "letter")
		wrong := rapid.SampledFrom([]string{
			name[:i] + name[i+1:],
			name[:i+1] + name[i:],
			name[:i] + string(name[i+1]) + string(name[i]) + name[i+2:],
			name[:i] + "z" + name[i+1:],
		}).Draw(t, "misspelt")
		if wrong == name {
			t.Skip("two equal letters were exchanged")
		}
		src := place(k.Path[:at]+wrong, value(k))
		_, err := Parse("", []byte(src), Options{})
		require.Error(t, err)
		line := 1 + slices.IndexFunc(strings.Split(src, "\n"), func(l string) bool {
			return strings.HasPrefix(strings.TrimLeft(l, " -"), wrong+":")
		})
		path := strings.ReplaceAll(k.Path[:at], "[]", "[0]") + wrong
		require.Contains(t, err.Error(), fmt.Sprintf("line %d: %s: unknown key; did you mean %s?", line, path, name))
	})
}

// A secret that was written into the file by mistake is never repeated.
func TestSecretsAreNotRepeated(t *testing.T) {
	const secret = "hunter2-Zq8"
	for _, k := range Keys() {
		path, ok := strings.CutSuffix(k.Path, "_file")
		if !ok {
			continue
		}
		_, err := Parse("", []byte(place(path, secret)), Options{})
		require.ErrorContains(t, err, strings.ReplaceAll(path, "[]", "[0]")+": secrets are not written into the configuration")
		require.NotContains(t, err.Error(), secret)
		if k.Env == "" {
			continue // of a list without names
		}
		_, err = Parse("", []byte(minimal), Options{Env: []string{strings.TrimSuffix(variable(k), "_FILE") + "=" + secret}})
		require.ErrorContains(t, err, variable(k))
		require.NotContains(t, err.Error(), secret)
	}
	for _, u := range []string{"https://user:" + secret + "@pbx.example.com", "https://user:" + secret + "@", "user:" + secret + "@pbx", "ht tp://u:" + secret + "@x"} {
		for _, key := range []string{"public_url", "nats.url", "accounts[].pbx[].url", "accounts[].graph.endpoints.login"} {
			_, err := Parse("", []byte(place(key, u)), Options{})
			require.Error(t, err, u)
			require.NotContains(t, err.Error(), secret, key)
		}
	}
}

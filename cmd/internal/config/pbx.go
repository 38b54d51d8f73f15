package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// pbxKind is what one type of PBX is configured with, besides what all have.
type pbxKind struct {
	name  string
	needs []string // keys that must be given
	takes []string // keys that may be given
}

// pbxKinds lists the types. A new one is a line here, and one where connectors are made.
func pbxKinds() []pbxKind {
	return []pbxKind{
		{name: "micollab", needs: []string{"token_file"}},
		{name: "3cx", needs: []string{"client_id", "client_secret_file"}, takes: []string{"poll_interval"}},
		{name: typeSIP, needs: []string{"username"}, takes: []string{"password_file", "domain", "users_file", "list_uri"}},
	}
}

// PBXTypes lists the types of PBX that there are connectors for.
func PBXTypes() []string {
	var out []string
	for _, k := range pbxKinds() {
		out = append(out, k.name)
	}
	return out
}

// pbxKey is a key that not every type takes.
type pbxKey struct {
	name, remedy string
	given        bool
}

// typeKeys are the keys of p that belong to certain types.
func typeKeys(p *PBX) []pbxKey {
	text := func(name, value, remedy string) pbxKey { return pbxKey{name, remedy, value != ""} }
	span := func(name string, value time.Duration) pbxKey { return pbxKey{name, "", value != 0} }
	return []pbxKey{
		text("token_file", p.TokenFile, "name the file with the PBX's bearer token"),
		text("client_id", p.ClientID, "give the client id of the PBX's API client"),
		text("client_secret_file", p.ClientSecretFile, "name the file with the API client's key"),
		span("poll_interval", p.PollInterval),
		text("username", p.Username, "name the user of the PBX that the bridge subscribes and publishes as"),
		text("password_file", p.PasswordFile, ""),
		text("domain", p.Domain, ""),
		text("users_file", p.UsersFile, ""),
		text("list_uri", p.ListURI, ""),
	}
}

func (v *validator) pbx(a *Account, path string, urls seen) {
	if len(a.PBX) == 0 {
		v.add(path+".pbx", "is missing", "describe at least one PBX: name, type, url and its credentials")
	}
	names := seen{}
	for i := range a.PBX {
		p, at := &a.PBX[i], fmt.Sprintf("%s.pbx[%d]", path, i)
		if v.name(at+".name", p.Name) {
			v.unique(names, p.Name, at+".name", "is also the name of %s", "names of PBXs must differ within an account")
		}
		v.pbxType(at+".type", p.Type)
		if p.Type == typeSIP {
			v.sip(p, at, urls)
		} else {
			v.pbxURL(at+".url", p.URL, urls)
		}
		v.pbxKeys(p, at)
	}
	v.presetHint(a, path+".policy")
}

// pbxKeys checks that a PBX has the keys of its type and no others.
func (v *validator) pbxKeys(p *PBX, at string) {
	kinds := pbxKinds()
	i := slices.IndexFunc(kinds, func(k pbxKind) bool { return k.name == p.Type })
	if i < 0 {
		return // which has been said
	}
	kind := kinds[i]
	for _, key := range typeKeys(p) {
		switch needed := slices.Contains(kind.needs, key.name); {
		case needed && !key.given:
			v.add(at+"."+key.name, "is missing", key.remedy)
		case key.given && !needed && !slices.Contains(kind.takes, key.name):
			v.add(at+"."+key.name, "is no key of a PBX of type "+p.Type, "remove it; the keys of that type's own are "+keyList(kind))
		}
	}
}

// presetHint remarks that a preset speaks the words of other PBXs than the account has. A policy may well do that.
func (v *validator) presetHint(a *Account, path string) {
	var types []string
	for _, p := range a.PBX {
		if slices.Contains(PBXTypes(), p.Type) && !slices.Contains(types, p.Type) {
			types = append(types, p.Type)
		}
	}
	var policy struct {
		Preset string `yaml:"preset"`
	}
	switch {
	case len(types) == 0:
	case len(a.Policy.YAML) == 0 || yaml.Unmarshal(a.Policy.YAML, &policy) != nil || policy.Preset == "":
	case len(types) == 1 && policy.Preset != types[0] && slices.Contains(PBXTypes(), policy.Preset):
		v.warn(path, fmt.Sprintf("the preset %s is made for PBXs of that type, and those of this account are of type %s", policy.Preset, types[0]),
			fmt.Sprintf("use preset: %s, unless the PBX's statuses are named like the other's", types[0]))
	}
}

func keyList(k pbxKind) string { return strings.Join(slices.Concat(k.needs, k.takes), ", ") }

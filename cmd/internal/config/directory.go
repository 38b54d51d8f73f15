package config

import (
	"fmt"
	"os"
	"slices"
	"time"

	"presencebridge/bridge/directory"
)

// Directory says how people and PBX users are brought together.
type Directory struct {
	Match              []string      `yaml:"match" doc:"Rules in order; the first one that finds somebody decides. mail, upn and proxy_addresses compare the PBX's mail address with the person's addresses, extension compares the PBX's extension with extension_attribute, phone compares it as a whole number with the person's numbers, display_name compares names and has to be asked for, since it guesses. Absent: mail, upn, proxy_addresses, extension, phone."`
	OverridesFile      string        `yaml:"overrides_file" path:"file" doc:"CSV file that goes before all rules. Its first line is pbx,endpoint,person; each further one says whose an endpoint (the PBX's id of the user, or the extension) is: a person's object id, user principal name or mail address, or none. It is read again when it changes."`
	ExtensionAttribute string        `yaml:"extension_attribute" oneof:"employeeId officeLocation faxNumber mobilePhone extensionAttribute1 extensionAttribute2 extensionAttribute3 extensionAttribute4 extensionAttribute5 extensionAttribute6 extensionAttribute7 extensionAttribute8 extensionAttribute9 extensionAttribute10 extensionAttribute11 extensionAttribute12 extensionAttribute13 extensionAttribute14 extensionAttribute15" doc:"Property of Entra's users that holds the extension, for the rule extension."`
	Region             string        `yaml:"region" doc:"Country whose telephone numbers are written without a country code, as two letters (ISO 3166), for the rule phone. Absent: only numbers that begin with + are compared."`
	Interval           time.Duration `yaml:"interval" default:"5m" min:"1s" max:"24h" doc:"How often Entra is asked what changed about its users, and who is in the groups that policy names."`
}

// Rules are the rules in order; nil for the usual ones.
func (d *Directory) Rules() []directory.Rule {
	var out []directory.Rule
	for _, name := range d.Match {
		out = append(out, directory.Rule(name)) // checked when the configuration was read
	}
	return out
}

// Overrides reads the account's file of overrides; none without a file. Errors name the line.
func (a *Account) Overrides() ([]directory.Override, error) {
	if a.Directory.OverridesFile == "" {
		return nil, nil
	}
	f, err := os.Open(a.Directory.OverridesFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return directory.ReadOverrides(f, func(name string) bool {
		return slices.ContainsFunc(a.PBX, func(p PBX) bool { return p.Name == name })
	})
}

// MatchOptions are how people and PBX users are brought together, without what is only known while the bridge runs.
// The file of overrides is read.
func (a *Account) MatchOptions() (directory.Options, error) {
	overrides, err := a.Overrides()
	if err != nil {
		return directory.Options{}, fmt.Errorf("%s: %w", a.Directory.OverridesFile, err)
	}
	return directory.Options{
		Rules: a.Directory.Rules(), Overrides: overrides, Region: a.Directory.Region, Prefixes: a.Prefixes(),
		Exclude: a.ExcludedUPNs(), SeveralPerPBX: true,
	}, nil
}

// Prefixes are what stands before the PBXs' extensions.
func (a *Account) Prefixes() map[string]string {
	out := map[string]string{}
	for i := range a.PBX {
		if p := &a.PBX[i]; p.NumberPrefix != "" {
			out[p.Name] = p.NumberPrefix
		}
	}
	return out
}

func (v *validator) directory(a *Account, path string) {
	d := &a.Directory
	first := seen{}
	for i, name := range d.Match {
		at := fmt.Sprintf("%s.directory.match[%d]", path, i)
		if _, err := directory.ParseRule(name); err != nil {
			v.add(at, err.Error(), "")
			continue
		}
		v.unique(first, name, at, "stands at %s already", "name each rule once")
		switch {
		case name == string(directory.ByExtension) && d.ExtensionAttribute == "":
			v.add(at, "needs directory.extension_attribute", "name the property of Entra's users that holds the extension, or remove the rule")
		case name == string(directory.ByName):
			v.warn(at, "a display name is no proof of who somebody is", "look through `presence-bridge directory check` after the first start")
		}
	}
	if d.Region != "" && !directory.CheckRegion(d.Region) {
		v.add(path+".directory.region", fmt.Sprintf("%q is no country", clip(d.Region)), "give two capital letters as in ISO 3166, for example DE")
	}
	for i := range a.PBX {
		if p := a.PBX[i].NumberPrefix; p != "" && !directory.CheckNumber(p) {
			v.add(fmt.Sprintf("%s.pbx[%d].number_prefix", path, i), fmt.Sprintf("%q is not the beginning of a number", clip(p)), "write + and digits, for example \"+49301234\"")
		}
	}
}

// overridesFile reads the file as the bridge will.
func (v *validator) overridesFile(a *Account, path string) {
	at, file := path+".directory.overrides_file", a.Directory.OverridesFile
	if file == "" || v.read(at, file) == nil {
		return
	}
	if _, err := a.Overrides(); err != nil {
		v.add(at, fmt.Sprintf("%s: %v", file, err), "")
	}
}

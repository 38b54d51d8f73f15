package config

import (
	"fmt"
	"io"
	"strings"
)

// Describe prints every key: its type with limits, its default, the environment variable that overrides it, and
// what it means.
func Describe(w io.Writer) error {
	p := &printer{w: w}
	p.line("Configuration of presence-bridge: one YAML file. Unknown keys are errors. Durations are written as 90s, 5m,")
	p.line("24h or 7d, sizes as 512KiB, 8MiB or 8GiB. Secrets stand in files of their own (keys ending in _file). Relative")
	p.line("file names are taken from the folder of the configuration file.")
	p.line("")
	p.line("Each key that has an \"env\" line can be overridden by that environment variable. <NAME> is the name of an entry")
	p.line("of the list, which must be in the file, in capitals and with _ for -. Lists are separated by commas. Any other")
	p.line("variable that begins with " + EnvPrefix + " is an error, but for those that Kubernetes makes of services.")
	for _, k := range Keys() {
		p.key(k)
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(text string) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, text)
	}
}

func (p *printer) key(k Key) {
	p.line("")
	p.line(k.Path)
	p.line("    " + k.describeType())
	if k.Env != "" {
		p.line("    env " + k.Env)
	}
	for _, text := range wrap(k.Doc, 100) {
		p.line("    " + text)
	}
}

func (k Key) describeType() string {
	text := k.Type
	if k.Min != "" {
		text += fmt.Sprintf(", %s to %s", k.Min, k.Max)
	}
	switch {
	case k.Group:
	case k.Default != "":
		text += ", default " + k.Default
	default:
		text += ", no default"
	}
	return text
}

// wrap breaks text into lines of at most width letters where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

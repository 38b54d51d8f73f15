package verify

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Shape of the text.
const (
	textWidth = 118 // columns
	nameWidth = 18  // least columns of the names
	nameMost  = 44  // columns; a longer one gets a line of its own
)

// WriteText writes the report for people: grouped by account, aligned, what is wrong with its remedy.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	writeGroup(&b, "bridge", r.Bridge)
	for i := range r.Accounts {
		b.WriteByte('\n')
		writeGroup(&b, "account "+r.Accounts[i].Name, r.Accounts[i].Checks)
	}
	fmt.Fprintf(&b, "\n%s\n", r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) summary() string {
	count := map[Result]int{}
	all := [][]Check{r.Bridge}
	for i := range r.Accounts {
		all = append(all, r.Accounts[i].Checks)
	}
	for _, checks := range all {
		for _, c := range checks {
			count[c.Result]++
		}
	}
	warnings := "warnings"
	if count[Warning] == 1 {
		warnings = "warning"
	}
	return fmt.Sprintf("%d ok, %d skipped, %d %s, %d failed", count[OK], count[Skipped], count[Warning], warnings, count[Failed])
}

func writeGroup(b *strings.Builder, title string, checks []Check) {
	b.WriteString(title + "\n")
	width := nameWidth
	for _, c := range checks {
		if n := utf8.RuneCountInString(label(c)); n <= nameMost {
			width = max(width, n)
		}
	}
	for _, c := range checks {
		indent := 2 + 8 + 1 + width + 2
		if utf8.RuneCountInString(label(c)) > width {
			fmt.Fprintf(b, "  %-8s %s\n%s", mark(c.Result), label(c), strings.Repeat(" ", indent))
		} else {
			fmt.Fprintf(b, "  %-8s %-*s  ", mark(c.Result), width, label(c))
		}
		b.WriteString(wrap(c.Evidence, indent, ""))
		if c.Remedy != "" {
			b.WriteString(strings.Repeat(" ", indent) + "-> " + wrap(c.Remedy, indent, "   "))
		}
	}
}

func label(c Check) string {
	name := strings.ReplaceAll(c.Name, "_", " ")
	if c.Subject == "" {
		return name
	}
	return name + " " + c.Subject
}

// mark is a result as it catches the eye.
func mark(r Result) string {
	switch r {
	case Failed, Warning:
		return strings.ToUpper(string(r))
	case OK, Skipped:
	}
	return string(r)
}

// wrap breaks a text between words; hang is put before each further line.
func wrap(text string, indent int, hang string) string {
	var b strings.Builder
	room := max(textWidth-indent-len(hang), 30)
	used := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > room:
			b.WriteString("\n" + strings.Repeat(" ", indent) + hang)
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	return b.String() + "\n"
}

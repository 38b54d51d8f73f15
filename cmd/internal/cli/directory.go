package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/directory"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/verify"
)

func newDirectory() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "directory", Short: "Show which person has which endpoint, and who has none"}
	r.flags(cmd)
	var d directoryCheck
	check := &cobra.Command{
		Use: "check", Short: "List who is matched, who is ambiguous, and who and what is left over, with what to do", Args: cobra.NoArgs,
		Long: "Asks the running bridge. With --config and no bridge running, it lists the tenant's users and the PBXs' users itself and\n" +
			"matches them as the bridge would; nothing is changed.",
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd, r) },
	}
	f := check.Flags()
	f.BoolVar(&d.csv, "csv", false, "print everything as CSV, for a spreadsheet")
	f.BoolVar(&d.all, "all", false, "print every line, the matches too, instead of the first "+strconv.Itoa(firstLines)+" of each kind")
	f.BoolVar(&r.json, "json", false, "print everything as JSON")
	check.MarkFlagsMutuallyExclusive("csv", "json")
	cmd.AddCommand(check)
	return cmd
}

// directoryCheck is `directory check`.
type directoryCheck struct{ csv, all bool }

// whoIsWho is what is known of one account.
type whoIsWho struct {
	account  string
	counts   map[string]int
	findings func(kind string) iter.Seq2[api.Finding, error]
}

func (d *directoryCheck) run(cmd *cobra.Command, r *remote) error {
	list, err := r.whoIsWho(cmd)
	if err != nil {
		return err
	}
	switch {
	case r.json:
		return directoryJSON(cmd.OutOrStdout(), list)
	case d.csv:
		return directoryCSV(cmd.OutOrStdout(), list)
	}
	for i := range list {
		if err := d.text(cmd.OutOrStdout(), &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// whoIsWho asks the running bridge, or looks for itself if there is none.
func (r *remote) whoIsWho(cmd *cobra.Command) ([]whoIsWho, error) {
	if r.config == "" || r.url != "" {
		return r.askBridge(cmd)
	}
	cfg, _, err := loadConfig(r.config, "", true)
	if err != nil {
		return nil, err
	}
	if verify.BridgeRuns(cmd.Context(), cfg) {
		return r.askBridge(cmd)
	}
	if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "no bridge is running: the tenant and the PBXs are asked directly"); err != nil {
		return nil, err
	}
	return r.askEverybody(cmd.Context(), cfg)
}

func (r *remote) askBridge(cmd *cobra.Command) ([]whoIsWho, error) {
	c, accounts, err := r.reach(cmd)
	if err != nil {
		return nil, err
	}
	ctx := cmd.Context()
	var out []whoIsWho
	for _, name := range accounts {
		counts, err := c.DirectoryCounts(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", name, err)
		}
		out = append(out, whoIsWho{name, counts, func(kind string) iter.Seq2[api.Finding, error] { return c.Directory(ctx, name, kind) }})
	}
	return out, nil
}

func (r *remote) askEverybody(ctx context.Context, cfg *config.Config) ([]whoIsWho, error) {
	var out []whoIsWho
	for i := range cfg.Accounts {
		a := &cfg.Accounts[i]
		if r.account != "" && a.Name != r.account {
			continue
		}
		report, err := verify.Directory(ctx, verify.Options{Config: cfg}, a)
		if err != nil {
			return nil, err
		}
		w := whoIsWho{account: a.Name, counts: map[string]int{}, findings: func(kind string) iter.Seq2[api.Finding, error] { return pages(report, kind) }}
		for k, n := range report.Counts() {
			w.counts[string(k)] = n
		}
		out = append(out, w)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("there is no account %q in the configuration", r.account)
	}
	return out, nil
}

// pages goes through a report's findings of one kind.
func pages(report *directory.Report, kind string) iter.Seq2[api.Finding, error] {
	return func(yield func(api.Finding, error) bool) {
		for after := ""; ; {
			page, next := report.Page(directory.FindingKind(kind), after, api.MaxLimit)
			for i := range page {
				if !yield(app.FindingView(&page[i]), nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// firstLines is how many findings of a kind are shown unless all are asked for.
const firstLines = 20

// headings of the kinds, in the order in which they are shown.
func headings() [][2]string {
	return [][2]string{
		{"problem", "problems of the configuration"}, {"ambiguous", "ambiguous endpoints"}, {"endpoint", "endpoints without a person"},
		{"person", "people without an endpoint"}, {"excluded", "excluded people"}, {"matched", "matched"},
	}
}

func (d *directoryCheck) text(w io.Writer, x *whoIsWho) error {
	if _, err := fmt.Fprintf(w, "account %s: %d endpoints matched, %d ambiguous, %d without a person; %d people without an endpoint, %d excluded\n",
		x.account, x.counts["matched"], x.counts["ambiguous"], x.counts["endpoint"], x.counts["person"], x.counts["excluded"]); err != nil {
		return err
	}
	for _, h := range headings() {
		if x.counts[h[0]] == 0 || (h[0] == "matched" && !d.all) {
			continue
		}
		if err := d.kind(w, x, h); err != nil {
			return err
		}
	}
	return nil
}

// kind shows the findings of one kind, and below them each reason once, in words.
func (d *directoryCheck) kind(w io.Writer, x *whoIsWho, heading [2]string) error {
	if _, err := fmt.Fprintf(w, "\n%s\n", heading[1]); err != nil {
		return err
	}
	var rows [][]string
	var reasons []string
	texts := map[string]string{}
	for f, err := range x.findings(heading[0]) {
		if err != nil {
			return err
		}
		if len(rows) == firstLines && !d.all {
			break
		}
		rows = append(rows, row(&f))
		if _, told := texts[f.Reason]; !told && f.Reason != "" {
			reasons = append(reasons, f.Reason)
			texts[f.Reason] = f.Text
		}
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if n := x.counts[heading[0]] - len(rows); n > 0 {
		if _, err := fmt.Fprintf(w, "  … and %d more: --all shows them, --csv writes them for a spreadsheet\n", n); err != nil {
			return err
		}
	}
	for _, r := range reasons {
		if _, err := fmt.Fprintf(w, "  %s: %s\n", r, texts[r]); err != nil {
			return err
		}
	}
	return nil
}

// row is a finding in columns.
func row(f *api.Finding) []string {
	endpoint := strings.TrimSpace(f.PBX + " " + f.User)
	if f.Extension != "" && f.Extension != f.User {
		endpoint += " (" + f.Extension + ")"
	}
	switch f.Kind {
	case "problem":
		return []string{"  " + f.Text}
	case "matched":
		by := "by " + f.Rule
		if f.Kept {
			by += ", kept after a rename"
		}
		return []string{"  " + endpoint, f.UPN, f.Name, by}
	case "person", "excluded":
		return []string{"  " + f.UPN, f.Name, f.Reason, looksLike(f.Candidates)}
	default:
		return []string{"  " + endpoint, f.Endpoint, f.Mail, f.Reason, looksLike(f.Candidates)}
	}
}

func looksLike(list []api.Candidate) string {
	if len(list) == 0 {
		return ""
	}
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = c.Text
	}
	return "perhaps " + strings.Join(texts, ", or ")
}

func directoryJSON(w io.Writer, list []whoIsWho) error {
	type account struct {
		Account  string         `json:"account"`
		Counts   map[string]int `json:"counts"`
		Findings []api.Finding  `json:"findings"`
	}
	out := []account{}
	for i := range list {
		a := account{list[i].account, list[i].counts, []api.Finding{}}
		for _, h := range headings() {
			for f, err := range list[i].findings(h[0]) {
				if err != nil {
					return err
				}
				a.Findings = append(a.Findings, f)
			}
		}
		out = append(out, a)
	}
	return writeJSON(w, out)
}

func directoryCSV(w io.Writer, list []whoIsWho) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{
		"account", "kind", "pbx", "endpoint", "extension", "endpoint_name", "mail", "person_id", "upn", "person_name", "rule", "kept", "reason", "what_to_do", "candidates",
	}); err != nil {
		return err
	}
	for i := range list {
		for _, h := range headings() {
			for f, err := range list[i].findings(h[0]) {
				if err != nil {
					return err
				}
				kept := ""
				if f.Kept {
					kept = "yes"
				}
				line := []string{list[i].account, f.Kind, f.PBX, f.User, f.Extension, f.Endpoint, f.Mail, f.ID, f.UPN, f.Name, f.Rule, kept, f.Reason, f.Text, names(f.Candidates)}
				for i := range line {
					line[i] = harmless(line[i])
				}
				if err := c.Write(line); err != nil {
					return err
				}
			}
		}
	}
	c.Flush()
	return c.Error()
}

func names(list []api.Candidate) string {
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = c.Text + " [" + c.ID + "]"
	}
	return strings.Join(texts, "; ")
}

// harmless keeps a spreadsheet from taking for a formula what somebody entered as a name on a PBX. A number with its
// country code stays one.
func harmless(field string) string {
	if field == "" || !strings.ContainsRune("=+-@\t\r", rune(field[0])) || directory.CheckNumber(field) {
		return field
	}
	return "'" + field
}

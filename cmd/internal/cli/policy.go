package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"presencebridge/bridge/policy"
	"presencebridge/bridge/policy/cases"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Try a policy before it is put to work"}
	cmd.AddCommand(newPolicyTest(), newPolicyReplay())
	return cmd
}

func newPolicyTest() *cobra.Command {
	var from policySource
	var asJSON bool
	cmd := &cobra.Command{
		Use: "test FILE", Short: "Run a table of cases: what is given on one side, what is expected on the other", Args: cobra.ExactArgs(1),
		Long: "Run a table of cases: what is given on one side, and what is expected on the other. The policy is that of --policy,\n" +
			"or of an account of --config, or the file that the table itself names under policy. deploy/policy/cases.yaml is an\n" +
			"example. Ends with status 1 when a case comes out otherwise than expected.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return policyTest(cmd.OutOrStdout(), args[0], from, asJSON)
		},
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// policySource is where a command finds the policy to try.
type policySource struct{ policy, config, account string }

func (s *policySource) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.policy, "policy", "", "file with the policy: what stands under policy of an account")
	f.StringVar(&s.config, "config", "", "configuration file, for the policy of one of its accounts")
	f.StringVar(&s.account, "account", "", "account of --config; may be left out where there is one only")
	cmd.MarkFlagsMutuallyExclusive("policy", "config")
}

// load returns the policy and the file whose lines its rules name. fallback is a file to use when nothing was said.
func (s *policySource) load(fallback string) (*policy.Policy, string, error) {
	switch {
	case s.config != "":
		return s.fromConfig()
	case s.account != "":
		return nil, "", errors.New("--account goes with --config")
	case s.policy != "":
		return readPolicy(s.policy)
	case fallback != "":
		return readPolicy(fallback)
	}
	return nil, "", errors.New("say which policy: --policy FILE, or --config FILE with --account NAME, or name the file under policy in the table")
}

func readPolicy(file string) (*policy.Policy, string, error) {
	src, err := os.ReadFile(file) //nolint:gosec // G703: whoever runs the command names the file, or a table of theirs does
	if err != nil {
		return nil, "", fmt.Errorf("read the policy: %w", err)
	}
	p, err := policy.ParseFile(src)
	if err != nil {
		return nil, "", fileErrors(file, err)
	}
	return p, file, nil
}

// fileErrors names the file before every line.
func fileErrors(file string, err error) error {
	lines := strings.Split(err.Error(), "\n")
	for i, l := range lines {
		if rest, ok := strings.CutPrefix(l, "line "); ok {
			lines[i] = file + ":" + rest
			continue
		}
		lines[i] = file + ": " + l
	}
	return errors.New(strings.Join(lines, "\n"))
}

func (s *policySource) fromConfig() (*policy.Policy, string, error) {
	cfg, _, err := loadConfig(s.config, "", false)
	if err != nil {
		return nil, "", err
	}
	var names []string
	for i := range cfg.Accounts {
		a := &cfg.Accounts[i]
		if a.Name == s.account || (s.account == "" && len(cfg.Accounts) == 1) {
			p, err := a.ParsePolicy()
			return p, s.config, err
		}
		names = append(names, a.Name)
	}
	return nil, "", fmt.Errorf("say which account of %s: --account %s", s.config, strings.Join(names, " or "))
}

func policyTest(out io.Writer, file string, from policySource, asJSON bool) error {
	src, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the cases: %w", err)
	}
	t, err := cases.Parse(src)
	if err != nil {
		return fileErrors(file, err)
	}
	fallback := t.Policy
	if fallback != "" && !filepath.IsAbs(fallback) {
		fallback = filepath.Join(filepath.Dir(file), fallback)
	}
	p, policyFile, err := from.load(fallback)
	if err != nil {
		return err
	}
	results := t.Run(p, policyFile)
	failed := cases.Failed(results)
	if asJSON {
		err = writeJSON(out, map[string]any{"cases": results, "total": len(results), "failed": failed})
	} else {
		err = showResults(out, file, results, failed)
	}
	if err == nil && failed > 0 {
		err = errSilent
	}
	return err
}

func showResults(out io.Writer, file string, rs []cases.Result, failed int) error {
	var rows [][]string
	for i := range rs {
		r := &rs[i]
		mark := "ok"
		if !r.Pass {
			mark = "FAILED"
		}
		first := []string{mark, r.Name}
		add := func(side, came, rule string) {
			rows = append(rows, append(first, side+" "+came, or(rule, "no rule")))
			first = []string{"", ""}
		}
		if r.AskedPhone {
			add("phone:", r.Phone, r.PhoneRule)
		}
		if r.AskedTeams {
			add("Teams:", r.Teams, r.TeamsRule)
		}
		for _, w := range r.Wrong {
			rows = append(rows, []string{"", fmt.Sprintf("  %s:%d: %s", file, r.Line, w)})
		}
	}
	if err := table(out, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s, %d failed\n", plural(len(rs), "case"), failed)
	return err
}

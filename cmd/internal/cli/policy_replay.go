package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/policy"
)

func newPolicyReplay() *cobra.Command {
	r := &remote{}
	var file, since string
	cmd := &cobra.Command{
		Use: "replay --policy FILE", Short: "Say who would have looked different under another policy, and when", Args: cobra.NoArgs,
		Long: "Run what the running bridge has recorded through its present policy and through another one, and list where\n" +
			"and when somebody would have looked different. Nothing is changed by it. How far records go back is the\n" +
			"configuration's history.",
		RunE: func(cmd *cobra.Command, _ []string) error { return policyReplay(cmd, r, file, since) },
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&file, "policy", "", "file with the other policy: what stands under policy of an account")
	cmd.Flags().StringVar(&since, "since", "24h", "how far back: a duration such as 8h, or a moment such as 09:00")
	cmd.Flags().BoolVar(&r.json, "json", false, "print JSON")
	required(cmd, "policy")
	return cmd
}

// replayed is what --json prints.
type replayed struct {
	Account     string                 `json:"account"`
	Summary     api.ReplaySummary      `json:"summary"`
	Differences []api.ReplayDifference `json:"differences"`
}

func policyReplay(cmd *cobra.Command, r *remote, file, sinceText string) error {
	now := time.Now()
	since, err := api.ParseSince(sinceText, now, now)
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	text, err := policyText(file, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	c, accounts, err := r.reach(cmd)
	if err != nil {
		return err
	}
	if len(accounts) != 1 {
		return fmt.Errorf("a policy belongs to one account, say which: --account %s", strings.Join(accounts, " or "))
	}
	out := replayed{Account: accounts[0], Differences: []api.ReplayDifference{}}
	bar := progressbar.NewOptions(1, progressbar.OptionSetWriter(cmd.ErrOrStderr()),
		progressbar.OptionSetDescription("replay"), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	out.Summary, err = c.ReplayPolicy(cmd.Context(), out.Account, api.ReplayRequest{Policy: text, Since: since}, func(item api.ReplayItem) error {
		switch {
		case item.Difference != nil:
			out.Differences = append(out.Differences, *item.Difference)
		case item.Progress != nil:
			bar.ChangeMax(max(item.Progress.Total, 1))
			_ = bar.Set(item.Progress.Done) // a bar that cannot be drawn is no reason to stop
		}
		return nil
	})
	_ = bar.Finish()
	if err != nil {
		return err
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), out)
	}
	return showReplay(cmd.OutOrStdout(), &out)
}

// policyText reads and checks a policy here, so that what is wrong with it is told with the file's name.
func policyText(file string, errOut io.Writer) (string, error) {
	p, _, err := readPolicy(file)
	if err != nil {
		return "", err
	}
	for _, f := range p.Check(policy.Site{}) {
		if _, err := fmt.Fprintf(errOut, "remark: %s: %s\n", file, f); err != nil {
			return "", err
		}
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the policy: %w", err)
	}
	if strings.TrimSpace(string(src)) == "" {
		return "", errors.New(file + " is empty: give a preset or rules")
	}
	return string(src), nil
}

func showReplay(out io.Writer, r *replayed) error {
	rows := [][]string{{"USER", "SIDE", "FROM", "UNTIL", "NOW", "WITH THE OTHER POLICY"}}
	for i := range r.Differences {
		d := &r.Differences[i]
		until := stamp(d.Until)
		if d.Until.Equal(r.Summary.Until) {
			until = "still"
		}
		rows = append(rows, []string{or(d.UPN, d.Member), sideInWords(d.Side), stamp(d.From), until, d.Old, d.New})
	}
	if len(rows) > 1 {
		if err := table(out, rows); err != nil {
			return err
		}
	}
	s := &r.Summary
	if _, err := fmt.Fprintf(out, "%s: %d of %s would have looked different, %s, since %s (%s)\n", r.Account, s.Changed,
		plural(s.Members, "member"), plural(len(r.Differences), "time"), stamp(s.Since), plural(s.Observations, "observation")); err != nil {
		return err
	}
	for _, remark := range s.Remarks {
		if _, err := fmt.Fprintln(out, "remark:", remark); err != nil {
			return err
		}
	}
	return nil
}

// sideInWords is a side's name for people: Teams, or the PBX with its user.
func sideInWords(side string) string {
	if side == "teams" {
		return "Teams"
	}
	return strings.Replace(strings.TrimPrefix(side, "pbx."), ".", " ", 1)
}

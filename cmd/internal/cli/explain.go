package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
)

// newExplain is `users explain`.
func newExplain(r *remote) *cobra.Command {
	var at, since string
	cmd := &cobra.Command{
		Use: "explain USER", Short: "Say why a member looks as they do, or looked at some moment", Args: cobra.ExactArgs(1),
		Long: "USER is an id, a UPN, a mail address or an extension. What each side shows and why, in plain sentences: what the bridge\n" +
			"has put there and because of what, until when, what is masked or overridden by whom, what the bridge waits for, and what\n" +
			"happened. How far back that goes is the configuration's key history.",
		Example: "  presence-bridge users explain anna@contoso.com --config bridge.yaml\n" +
			"  presence-bridge users explain anna@contoso.com --at 10:15 --config bridge.yaml\n" +
			"  presence-bridge users explain 1007 --since 2h --config bridge.yaml",
		RunE: func(cmd *cobra.Command, args []string) error { return usersExplain(cmd, r, args[0], at, since) },
	}
	cmd.Flags().StringVar(&at, "at", "", "the moment to explain: a time such as 10:15, \"2026-11-25 10:15\", or RFC 3339; default: now")
	cmd.Flags().StringVar(&since, "since", "", "how far back to tell what happened: a duration such as 24h, or a moment as for --at; default: the\nlast hour, ten minutes before the moment, or as far as explains what shows")
	return cmd
}

func usersExplain(cmd *cobra.Command, r *remote, key, at, since string) error {
	now := time.Now()
	moment, err := api.ParseMoment(at, now)
	if err != nil {
		return fmt.Errorf("--at: %w", err)
	}
	from, err := api.ParseSince(since, moment, now)
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	account, m, err := r.member(cmd, c, key)
	if err != nil {
		return err
	}
	e, err := c.Explain(cmd.Context(), account, m.ID, moment, from, now.Location())
	if err != nil {
		return err
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), e)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), e.Text)
	return err
}

// notFound says that nobody is called so, and who is called nearly so.
func notFound(key string, accounts, near []string) error {
	text := fmt.Sprintf("no member %q in %s: give an id, a UPN, a mail address or an extension (users list shows them)", key, strings.Join(accounts, ", "))
	if len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s", text)
}

// proposals are the candidates of an error that no one account can answer alone.
func proposals(near []string, err error) []string { return append(near, client.Candidates(err)...) }

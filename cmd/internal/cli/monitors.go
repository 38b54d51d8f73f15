package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
)

func newMonitors() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "monitors", Short: "Show, authorise and change the monitors"}
	r.flags(cmd)
	cmd.PersistentFlags().BoolVar(&r.json, "json", false, "print JSON")
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the monitors and their subscriptions", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return monitorsList(cmd, r) },
		},
		newAuthorize(r),
	)
	cmd.AddCommand(newMonitorActions(r)...)
	return cmd
}

func monitorsList(cmd *cobra.Command, r *remote) error {
	c, accounts, err := r.reach(cmd)
	if err != nil {
		return err
	}
	var several bool // applications, in some account
	rows := [][]string{{"ACCOUNT", "MONITOR", "APPLICATION", "STATE", "SINCE", "MEMBERS", "SUBSCRIPTION", "REMARK"}}
	byAccount := map[string][]api.Monitor{}
	owners := map[string]string{}
	for _, account := range accounts {
		list, err := c.Monitors(cmd.Context(), account)
		if err != nil {
			return err
		}
		byAccount[account] = list
		for _, m := range list {
			owners[account] = m.Owner
			sub := "none"
			if m.Subscription != nil {
				sub = "until " + stamp(m.Subscription.ExpiresAt)
			}
			remark := strings.Trim(m.Text+"; "+m.Remedy, "; ")
			application := ""
			if m.Application > 0 {
				several = true
				application = fmt.Sprintf("%d (%s)", m.Application, m.ClientID)
			}
			rows = append(rows, []string{account, m.UPN, application, stateOf(&m), stamp(m.Since), fmt.Sprintf("%d of %d", m.Members, m.Capacity), sub, remark})
		}
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), byAccount)
	}
	if !several {
		for i, row := range rows {
			rows[i] = slices.Delete(row, 2, 3)
		}
	}
	if err := table(cmd.OutOrStdout(), rows); err != nil {
		return err
	}
	if err := showOwners(cmd.OutOrStdout(), owners); err != nil {
		return err
	}
	return showCredentials(cmd, c, accounts)
}

// stateOf is the state, and under a sign-in what it is needed for.
func stateOf(m *api.Monitor) string {
	if m.Before == nil || m.Before.State == "unset" {
		return m.State
	}
	was := m.Before.State
	if m.Before.Code != "" {
		was += " " + m.Before.Code
	}
	return m.State + " (" + was + ")"
}

// showCredentials says below the list which secrets and certificates end soon, without which no monitor works.
func showCredentials(cmd *cobra.Command, c *client.Client, shown []string) error {
	accounts, err := c.Accounts(cmd.Context())
	if err != nil {
		return err
	}
	for i := range accounts {
		a := &accounts[i]
		if slices.Contains(shown, a.Name) {
			if err := showCoverage(cmd.OutOrStdout(), a); err != nil {
				return err
			}
		}
		for _, x := range a.Credentials {
			if x.Text == "" || !slices.Contains(shown, a.Name) {
				continue
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", a.Name, x.Text); err != nil {
				return err
			}
		}
	}
	return nil
}

// accountOfMonitor is the account asked for, or the one that has the monitor.
func (r *remote) accountOfMonitor(cmd *cobra.Command, upn string) (string, error) {
	c, accounts, err := r.reach(cmd)
	if err != nil || r.account != "" {
		return r.account, err
	}
	for _, account := range accounts {
		list, err := c.Monitors(cmd.Context(), account)
		if err != nil {
			return "", err
		}
		for _, m := range list {
			if strings.EqualFold(m.UPN, upn) {
				return account, nil
			}
		}
	}
	return "", fmt.Errorf("no account has a monitor %s: presence-bridge monitors list shows those that there are, and presence-bridge monitors add %s makes it one", upn, upn)
}

package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client/api"
)

func newMonitors() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "monitors", Short: "Show and authorise the monitors"}
	r.flags(cmd)
	cmd.PersistentFlags().BoolVar(&r.json, "json", false, "print JSON")
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the monitors and their subscriptions", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return monitorsList(cmd, r) },
		},
		&cobra.Command{
			Use: "authorize UPN", Short: "Sign a monitor in by device code", Args: cobra.ExactArgs(1),
			Long: "Prints an address and a code. Whoever knows the monitor's password opens the address, enters the code and signs in\n" +
				"as the monitor. The command waits and says what became of it.",
			RunE: func(cmd *cobra.Command, args []string) error { return monitorsAuthorize(cmd, r, args[0]) },
		},
	)
	return cmd
}

func monitorsList(cmd *cobra.Command, r *remote) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	accounts, err := r.accounts(cmd, c)
	if err != nil {
		return err
	}
	rows := [][]string{{"ACCOUNT", "MONITOR", "STATE", "SINCE", "MEMBERS", "SUBSCRIPTION", "REMARK"}}
	byAccount := map[string][]api.Monitor{}
	for _, account := range accounts {
		list, err := c.Monitors(cmd.Context(), account)
		if err != nil {
			return err
		}
		byAccount[account] = list
		for _, m := range list {
			sub := "none"
			if m.Subscription != nil {
				sub = "until " + stamp(m.Subscription.ExpiresAt)
			}
			remark := strings.Trim(m.Text+"; "+m.Remedy, "; ")
			rows = append(rows, []string{account, m.UPN, m.State, stamp(m.Since), fmt.Sprintf("%d of %d", m.Members, m.Capacity), sub, remark})
		}
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), byAccount)
	}
	return table(cmd.OutOrStdout(), rows)
}

func monitorsAuthorize(cmd *cobra.Command, r *remote, upn string) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	account, err := r.accountOfMonitor(cmd, upn)
	if err != nil {
		return err
	}
	auth, err := c.Authorize(cmd.Context(), account, upn)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if auth.Pending() {
		if err := showCode(out, &auth); err != nil {
			return err
		}
		if auth, err = c.AwaitAuthorization(cmd.Context(), auth); err != nil {
			return err
		}
	}
	if r.json {
		if err := writeJSON(out, auth); err != nil {
			return err
		}
	} else if _, err := fmt.Fprintf(out, "%s: %s\n", auth.State, auth.Message); err != nil {
		return err
	}
	if auth.State != api.AuthorizationDone {
		return errSilent
	}
	return nil
}

func showCode(out io.Writer, a *api.Authorization) error {
	_, err := fmt.Fprintf(out, "Open   %s\nEnter  %s\nSign in as %s within %s.\n\nWaiting ...\n",
		a.VerificationURI, a.UserCode, a.UPN, time.Until(a.ExpiresAt).Round(time.Minute))
	return err
}

// accountOfMonitor is the account asked for, or the one that has the monitor.
func (r *remote) accountOfMonitor(cmd *cobra.Command, upn string) (string, error) {
	c, err := r.client()
	if err != nil {
		return "", err
	}
	accounts, err := r.accounts(cmd, c)
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
	return "", fmt.Errorf("no account has a monitor %s: add it to accounts[].monitors and restart the bridge", upn)
}

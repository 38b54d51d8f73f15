package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
)

// newMonitorActions are the commands that change a monitor.
func newMonitorActions(r *remote) []*cobra.Command {
	var s signIn
	renew := &cobra.Command{
		Use: "renew UPN", Short: "Take up a new secret, or another application, and sign in again if that is needed", Args: cobra.ExactArgs(1),
		Long: "For after a change of the client secret, the certificate, tenant_id or client_id. A new secret alone needs no new\n" +
			"sign-in: the bridge tries it and says so. Otherwise this goes on like monitors authorize.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return signInBy(cmd, r, &s, args[0], (*client.Client).RenewMonitorWith)
		},
	}
	s.flags(renew)
	renew.Flags().StringVar(&s.secretFile, "client-secret-file", "", "file with a new client secret for this monitor alone; it replaces the one before if Microsoft accepts it")
	var own signIn
	add := &cobra.Command{
		Use: "add UPN", Short: "Make a user a monitor, or take one back that was removed", Args: cobra.ExactArgs(1),
		Long: "The user becomes a monitor at once and stays one over restarts, beside those of the configuration file. Sign it in\n" +
			"afterwards with monitors authorize.",
		RunE: func(cmd *cobra.Command, args []string) error { return monitorsAdd(cmd, r, &own, args[0]) },
	}
	add.Flags().StringVar(&own.secretFile, "client-secret-file", "", "file with a client secret of the application for this monitor alone; the bridge keeps it sealed")
	add.Flags().StringVar(&own.application, "application", "", "client id of the application whose secret it is; default: the first")
	return []*cobra.Command{
		renew, add,
		{
			Use: "retry UPN", Short: "Try a monitor again at once that waits or needs attention", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return monitorAction(cmd, r, args[0], (*client.Client).RetryMonitor)
			},
		},
		{
			Use: "remove UPN", Short: "Retire a monitor: delete its subscription and wipe its secrets", Args: cobra.ExactArgs(1),
			Long: "Its members go to a spare monitor, to free places, or are polled. A monitor of the configuration file stays retired\n" +
				"until it is added again; delete it there too.",
			RunE: func(cmd *cobra.Command, args []string) error {
				return monitorAction(cmd, r, args[0], (*client.Client).RemoveMonitor)
			},
		},
	}
}

func monitorsAdd(cmd *cobra.Command, r *remote, own *signIn, upn string) error {
	in, err := own.request()
	if err != nil {
		return err
	}
	c, accounts, err := r.reach(cmd)
	if err != nil {
		return err
	}
	if len(accounts) != 1 {
		return fmt.Errorf("say which account: --account %s", strings.Join(accounts, " or "))
	}
	m, err := c.AddMonitorWith(cmd.Context(), accounts[0], api.AddMonitorRequest{UPN: upn, ClientSecret: in.ClientSecret, ClientID: in.ClientID})
	if err != nil {
		return err
	}
	return showMonitor(cmd, r, &m)
}

func monitorAction(cmd *cobra.Command, r *remote, upn string, do func(*client.Client, context.Context, string, string) (api.Monitor, error)) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	account, err := r.accountOfMonitor(cmd, upn)
	if err != nil {
		return err
	}
	m, err := do(c, cmd.Context(), account, upn)
	if err != nil {
		return err
	}
	return showMonitor(cmd, r, &m)
}

// showMonitor says how a monitor stands.
func showMonitor(cmd *cobra.Command, r *remote, m *api.Monitor) error {
	if r.json {
		return writeJSON(cmd.OutOrStdout(), m)
	}
	line := m.UPN + ": " + stateOf(m)
	if remark := strings.Trim(strings.Join([]string{m.Text, m.Remedy}, "; "), "; "); remark != "" {
		line += " (" + remark + ")"
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), line)
	return err
}

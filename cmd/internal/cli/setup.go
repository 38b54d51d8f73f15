package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/setup"
)

func newSetup() *cobra.Command {
	cmd := &cobra.Command{Use: "setup", Short: "Print what has to be done elsewhere before the bridge can run"}
	var file, account, format string
	azure := &cobra.Command{
		Use: "azure --config FILE", Args: cobra.NoArgs,
		Short: "Print the permissions, and a script that registers the application, consents and creates the monitors",
		Long: "Nothing is done and nothing secret is printed: run the script, or hand it to the tenant's administrator.\n" +
			"Before there is an application, write client_id: 00000000-0000-0000-0000-000000000000; the script says which one to put there.\n" +
			"Each of graph.applications is registered too; those that do not exist yet need numbers of their own, such as one that ends in 1.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return setupAzure(cmd, file, account, setup.Format(format))
		},
	}
	azure.Flags().StringVar(&file, "config", "", "configuration file; the files that it names need not exist yet")
	azure.Flags().StringVar(&account, "account", "", "account; may be left out where there is only one")
	azure.Flags().StringVar(&format, "format", string(setup.FormatCLI), "cli (Azure CLI), powershell (Microsoft Graph PowerShell) or list (for doing it by hand)")
	required(azure, "config")
	cmd.AddCommand(azure)
	return cmd
}

func setupAzure(cmd *cobra.Command, file, name string, format setup.Format) error {
	cfg, _, err := loadConfig(file, "", false)
	if err != nil {
		return err
	}
	account, err := oneOf(cfg, name)
	if err != nil {
		return err
	}
	return setup.Azure(cmd.OutOrStdout(), cfg, account, format)
}

// oneOf is the account of that name, or the only one.
func oneOf(cfg *config.Config, name string) (*config.Account, error) {
	names := make([]string, 0, len(cfg.Accounts))
	for i := range cfg.Accounts {
		a := &cfg.Accounts[i]
		if a.Name == name || name == "" && len(cfg.Accounts) == 1 {
			return a, nil
		}
		names = append(names, a.Name)
	}
	if name == "" {
		return nil, fmt.Errorf("say which account: --account %s", strings.Join(names, " or "))
	}
	return nil, fmt.Errorf("there is no account %q; the configuration has %s", name, strings.Join(names, ", "))
}

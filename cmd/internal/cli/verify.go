package cli

import (
	"github.com/spf13/cobra"

	"presencebridge/cmd/internal/verify"
)

func newVerify() *cobra.Command {
	var file, account string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify --config FILE", Short: "Check that everything the configuration speaks of works, and say what to do where it does not",
		Long: "Looks at the tenants, the PBXs, the bus, public_url and the certificates as they are, and asks the running bridge\n" +
			"where there is one, which looks at its PBXs itself and has Graph reach public_url if a monitor is free. Changes nothing. Exit status 1 when a check failed; warnings do not count.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runVerify(cmd, file, account, asJSON) },
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file")
	cmd.Flags().StringVar(&account, "account", "", "only this account")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	required(cmd, "config")
	return cmd
}

func runVerify(cmd *cobra.Command, file, account string, asJSON bool) error {
	cfg, _, err := loadConfig(file, "", true)
	if err != nil {
		return err
	}
	report, err := verify.Run(cmd.Context(), verify.Options{Config: cfg, Account: account})
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(cmd.OutOrStdout(), report)
	} else {
		err = report.WriteText(cmd.OutOrStdout())
	}
	if err == nil && report.Result == verify.Failed {
		err = errSilent
	}
	return err
}

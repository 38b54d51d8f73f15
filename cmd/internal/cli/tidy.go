package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// tidy has mistakes in the command line answered with what to write instead, at this command and below.
func tidy(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())
	})
	if cmd.HasSubCommands() && cmd.HasParent() && cmd.RunE == nil {
		cmd.Args, cmd.RunE = cobra.ArbitraryArgs, chooseCommand
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) != nil {
				return fmt.Errorf("%d arguments do not fit: write %s", len(args), cmd.UseLine())
			}
			return nil
		}
	}
	if cmd.PreRunE == nil {
		cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return fmt.Errorf("%w: write %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		tidy(sub)
	}
}

// chooseCommand is what a command does that only groups others: alone it shows them.
func chooseCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return fmt.Errorf("%s has no command %q: use %s", cmd.CommandPath(), args[0], strings.Join(names, ", "))
}

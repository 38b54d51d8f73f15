// Package cli is the command line: what `presence-bridge` understands, and how it answers a person or a script.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build (-ldflags "-X presencebridge/cmd/internal/cli.version=…").
var version = ""

// errSilent ends a command with status 1 when everything was said already.
var errSilent = errors.New("failed")

// Main runs the command line and returns the exit status: 0, or 1 with the reason on stderr.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errSilent) {
			_, _ = fmt.Fprintln(errOut, "presence-bridge:", err)
		}
		return 1
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "presence-bridge",
		Short:         "Keeps presence the same in Microsoft Teams and on a PBX",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newServe(), newDemo(), newSim(), newConfig(), newUsers(), newMonitors(), newDirectory(), newPBX(), newKeys(), newResync(), newNotification(), newPolicy(), newVerify(), newSetup(), newVersion())
	tidy(root)
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "presence-bridge", Version())
			return err
		},
	}
}

// Version is the version of this build.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

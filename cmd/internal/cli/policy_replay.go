package cli

import "github.com/spf13/cobra"

func newPolicyReplay() *cobra.Command { return &cobra.Command{Use: "replay"} }

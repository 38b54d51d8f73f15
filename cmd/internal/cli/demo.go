package cli

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"presencebridge/cmd/internal/demo"
)

func newDemo() *cobra.Command {
	var cfg demo.Config
	cmd := &cobra.Command{
		Use: "demo", Args: cobra.NoArgs, Short: "Show the bridge at work between a simulated tenant and a simulated PBX",
		Long: "Runs a simulated Microsoft 365 tenant, a simulated PBX, and the real bridge between them. Without --duration it runs until\n" +
			"Ctrl-C. It ends with letting things settle and comparing every member on both sides with what policy says; the exit\n" +
			"status is 1 if anybody is wrong.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, d := range map[string]time.Duration{"duration": cfg.Duration, "settle": cfg.Settle} {
				if d < 0 {
					return fmt.Errorf("--%s %s: a time cannot be negative", name, d)
				}
			}
			cfg.Out, cfg.Version = cmd.OutOrStdout(), Version()
			if f, ok := cfg.Out.(*os.File); ok {
				cfg.Screen = term.IsTerminal(int(f.Fd()))
			}
			return demo.Run(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Members, "members", 200, "members of the tenant, each with a phone, or several")
	f.StringVar(&cfg.PBX, "pbx", "micollab", "types of the PBXs, with commas between: micollab, 3cx, sip. With several, people have a phone on one of them or on more")
	f.IntVar(&cfg.Monitors, "monitors", 0, "monitors; default as many as the members need")
	f.DurationVar(&cfg.Duration, "duration", 0, "how long people move; default until Ctrl-C")
	f.Uint64Var(&cfg.Seed, "seed", 1, "what people do and which faults strike follows from it")
	f.StringVar(&cfg.Faults, "faults", "none", "none, some, or cruel (with a restart of the bridge in the middle)")
	f.StringVar(&cfg.Report, "report", "", "write a JSON report to this file")
	f.Float64Var(&cfg.Rate, "rate", 0, "what each side's people begin in a minute, as a fraction of the members; default 0.25")
	f.DurationVar(&cfg.Settle, "settle", 0, "the longest that settling may take; default 5m")
	f.StringVar(&cfg.Admin, "admin", "", "address of the admin listener; default a free port")
	f.StringVar(&cfg.LogFile, "log", "", "keep the bridge's own log in this file")
	return cmd
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"presencebridge/bridge/policy"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/connect"
)

// stopTimeout is how long a stopping bridge may take to finish what is under way.
const stopTimeout = 30 * time.Second

func newServe() *cobra.Command {
	var file, roles string
	cmd := &cobra.Command{
		Use: "serve --config FILE", Short: "Run the bridge", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cmd.ErrOrStderr(), file, roles)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration file")
	cmd.Flags().StringVar(&roles, "roles", "", "what this process does: webhook, engine, console; default all of them")
	required(cmd, "config")
	return cmd
}

// required marks a flag that the command cannot do without.
func required(cmd *cobra.Command, flag string) {
	_ = cmd.MarkFlagRequired(flag) // fails only for a flag that is not there
}

// loadConfig reads and checks a configuration as `serve` does.
func loadConfig(file, roleText string, files bool) (*config.Config, []config.Role, error) {
	var roles []config.Role
	if roleText != "" {
		var err error
		if roles, err = config.ParseRoles(roleText); err != nil {
			return nil, nil, err
		}
	}
	cfg, err := config.Load(file, config.Options{
		Env: os.Environ(), Roles: roles, Files: files,
		ParsePolicy: func(b []byte) error { _, err := policy.Parse(b); return err }, Catalogue: connect.Catalogue,
	})
	return cfg, roles, err
}

func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func serve(ctx context.Context, errOut io.Writer, file, roleText string) error {
	cfg, roles, err := loadConfig(file, roleText, true)
	if err != nil {
		return err
	}
	log := newLogger(errOut, cfg.Log)
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "remark", w.String())
	}
	a, err := app.Start(ctx, app.Options{Config: cfg, Roles: roles, Version: Version(), Log: log})
	if err != nil {
		return err
	}
	log.Info("presence-bridge is running", "version", Version(), "webhook", a.WebhookAddr(), "admin", a.AdminAddr(), "accounts", len(cfg.Accounts))
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case <-a.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := a.Stop(stopCtx); err != nil {
		return err
	}
	if ctx.Err() == nil {
		return errors.New("the bridge ended by itself")
	}
	return nil
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check or describe the configuration"}
	var file, roles string
	check := &cobra.Command{
		Use: "check --config FILE", Short: "Say what is wrong with a configuration, all of it at once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return configCheck(cmd.OutOrStdout(), file, roles) },
	}
	check.Flags().StringVar(&file, "config", "", "configuration file")
	check.Flags().StringVar(&roles, "roles", "", "the roles that serve will be given")
	required(check, "config")
	describe := &cobra.Command{
		Use: "describe", Short: "Print every key with its type, default, meaning and environment variable", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return config.Describe(cmd.OutOrStdout()) },
	}
	cmd.AddCommand(check, describe)
	return cmd
}

func configCheck(out io.Writer, file, roles string) error {
	cfg, _, err := loadConfig(file, roles, true)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		if _, err := fmt.Fprintln(out, "remark:", w.String()); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "%s is good: %s\n", file, plural(len(cfg.Accounts), "account"))
	return err
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

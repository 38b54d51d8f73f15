package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"presencebridge/bridge/pbx/pbxtest"
	"presencebridge/cmd/internal/config"
	"presencebridge/cmd/internal/conformance"
)

func newPBX() *cobra.Command {
	cmd := &cobra.Command{Use: "pbx", Short: "Try a PBX"}
	cmd.AddCommand(newConformance())
	return cmd
}

// tryout is `pbx conformance`.
type tryout struct {
	cfg       conformance.Config
	tokenFile string
	run       string
	json      bool
}

func newConformance() *cobra.Command {
	var c tryout
	cmd := &cobra.Command{
		Use: "conformance --url URL --token-file FILE", Short: "Try an adapter of your own with the suite that every connector passes", Args: cobra.NoArgs,
		Long: "Tries the MiCollab-style endpoint at URL with the bridge's own connector. A proxy in between breaks connections, and delays\n" +
			"and loses answers. The status of three users is changed, and given back at the end: name users of your own with\n" +
			"--users. What only people can do is skipped, unless the site offers a control interface for its tests (--control).\n" +
			"Exit status 1 when a test failed.",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.try(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&c.cfg.URL, "url", "", "address of the endpoint, without /v1")
	f.StringVar(&c.tokenFile, "token-file", "", "file with the bearer token")
	f.StringVar(&c.cfg.CAFile, "ca-file", "", "PEM file with the authorities that sign the certificate of the endpoint")
	f.StringSliceVar(&c.cfg.Users, "users", nil, "ids of at least three users whose status may be changed (default: the first three that are listed)")
	f.StringVar(&c.cfg.Control, "control", "", "address below which people are moved for tests, as sim pbx does below /sim")
	f.BoolVar(&c.cfg.Resumes, "resumes", false, "expect that a broken event stream goes on where it was, without a reset")
	f.DurationVar(&c.cfg.Timeout, "timeout", 5*time.Second, "longest time for one request")
	f.DurationVar(&c.cfg.Patience, "patience", 30*time.Second, "longest time to wait for an event")
	f.StringVar(&c.run, "run", "", "only the tests whose name this regular expression matches")
	f.BoolVar(&c.json, "json", false, "print JSON")
	required(cmd, "url")
	required(cmd, "token-file")
	return cmd
}

func (c *tryout) try(cmd *cobra.Command) error {
	token, err := config.ReadSecret(c.tokenFile)
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	c.cfg.Token = token
	if c.run != "" {
		if c.cfg.Run, err = regexp.Compile(c.run); err != nil {
			return fmt.Errorf("--run: %w", err)
		}
	}
	type result struct {
		Test   string `json:"test"`
		Result string `json:"result"` // passed, skipped or failed
		Text   string `json:"text,omitempty"`
	}
	all := []result{}
	count := map[string]int{}
	out := cmd.OutOrStdout()
	var printing error
	err = conformance.Run(cmd.Context(), c.cfg, func(o pbxtest.Outcome) {
		r := result{o.Name, "passed", o.Text}
		switch {
		case o.Failed:
			r.Result = "failed"
		case o.Skipped:
			r.Result = "skipped"
		}
		all = append(all, r)
		count[r.Result]++
		if c.json {
			return
		}
		text := r.Text
		if o.Failed { // a testify failure is several lines
			text = "\n    " + strings.ReplaceAll(text, "\n", "\n    ")
		}
		_, werr := fmt.Fprintf(out, "%-8s %-22s %s\n", r.Result, r.Test, text)
		printing = errors.Join(printing, werr)
	})
	if err = errors.Join(err, printing); err != nil {
		return err
	}
	if c.json {
		err = writeJSON(out, all)
	} else {
		_, err = fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", count["passed"], count["failed"], count["skipped"])
	}
	if err == nil && count["failed"] > 0 {
		err = errSilent
	}
	return err
}

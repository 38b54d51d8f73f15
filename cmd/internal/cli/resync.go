package cli

import (
	"fmt"
	"io"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
)

// changesShown is how many changes of a resync are listed.
const changesShown = 50

func newResync() *cobra.Command {
	r := &remote{}
	var member string
	cmd := &cobra.Command{
		Use: "resync", Short: "Read both sides in full and apply what follows", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return resync(cmd, r, member) },
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&member, "member", "", "only this member: id, UPN or mail")
	cmd.Flags().BoolVar(&r.json, "json", false, "print the job as JSON")
	return cmd
}

func resync(cmd *cobra.Command, r *remote, member string) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	account := r.account
	if member != "" && account == "" {
		if account, _, err = r.member(cmd, c, member); err != nil {
			return err
		}
	} else if _, err := r.accounts(cmd, c); err != nil {
		return err
	}
	job, err := c.Resync(cmd.Context(), account, member)
	if id, running := client.RunningJob(err); running {
		return fmt.Errorf("%w; wait for job %s", err, id)
	}
	if err != nil {
		return err
	}
	bar := progressbar.NewOptions(max(job.Total, 1), progressbar.OptionSetWriter(cmd.ErrOrStderr()),
		progressbar.OptionSetDescription("resync"), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	job, err = c.AwaitJob(cmd.Context(), job.ID, func(j api.Job) {
		bar.ChangeMax(max(j.Total, 1))
		_ = bar.Set(j.Done) // a bar that cannot be drawn is no reason to stop
	})
	_ = bar.Finish()
	if err != nil {
		return err
	}
	if r.json {
		if err := writeJSON(cmd.OutOrStdout(), job); err != nil {
			return err
		}
	} else if err := showJob(cmd.OutOrStdout(), &job); err != nil {
		return err
	}
	if job.State != api.JobDone {
		return errSilent
	}
	return nil
}

func showJob(out io.Writer, j *api.Job) error {
	rows := [][]string{}
	for i, ch := range j.Changed {
		if i == changesShown {
			rows = append(rows, []string{fmt.Sprintf("... and %d more (--json lists them)", j.ChangedCount-changesShown)})
			break
		}
		rows = append(rows, []string{or(ch.UPN, ch.Member), ch.Side, ch.Before + " -> " + ch.After, inWords([]string{ch.Reason})})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s: %d of %s in scope (%s), %d changed\n", j.State, j.Done, plural(j.Total, "member"), j.Scope, j.ChangedCount)
	if err == nil && j.Error != "" {
		_, err = fmt.Fprintln(out, j.Error)
	}
	return err
}

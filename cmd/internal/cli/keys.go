package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/keyring"
	"presencebridge/cmd/internal/app"
	"presencebridge/cmd/internal/config"
)

func newKeys() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "keys", Short: "Rotate the master key and the encryption certificates"}
	r.flags(cmd)
	cmd.PersistentFlags().BoolVar(&r.json, "json", false, "print JSON")
	var o rotation
	rotate := &cobra.Command{
		Use: "rotate", Short: "Make a new master key, seal everything again under it, and retire the old one", Args: cobra.NoArgs,
		Long: "Works while the bridge runs and while it is stopped; --config is needed, as the key file is found through it. The new key\n" +
			"goes to the first line of master_key_file; everything stored is sealed again; then the old key is taken out of the file.\n" +
			"A line \"webhook\" stays in its place for 26 hours, so that subscriptions made before go on being accepted; they are made\n" +
			"anew within an hour. Cut off at any point, the bridge goes on working with both keys; run it again to finish.\n\n" +
			"Where replicas have copies of the key file: run it with --keep-old, copy the file to all of them, run it again\n" +
			"without, and copy the file once more. Where the file cannot be written (a mounted secret): put the new key on a line of\n" +
			"its own in front of the old one, run it with --keep-file, then delete the old line.",
		RunE: func(cmd *cobra.Command, _ []string) error { return keysRotate(cmd, r, o) },
	}
	rotate.Flags().BoolVar(&o.keepOld, "keep-old", false, "leave the old key in the file")
	rotate.Flags().BoolVar(&o.keepFile, "keep-file", false, "leave the file as it is: seal again under the key on its first line")
	cmd.AddCommand(rotate, &cobra.Command{
		Use: "rotate-certificate", Short: "Make a new encryption certificate for the subscriptions", Args: cobra.NoArgs,
		Long: "The running bridge makes it, and makes the account's subscriptions anew with it, one after the other. The certificate\n" +
			"before goes on decrypting until nothing can be encrypted under it any more. The bridge does the same by itself a month\n" +
			"before a certificate ends. Without --account: of every account.",
		RunE: func(cmd *cobra.Command, _ []string) error { return keysRotateCertificate(cmd, r) },
	})
	return cmd
}

// rotation says how far keys rotate goes.
type rotation struct{ keepOld, keepFile bool }

// resealFor bounds how long the bridge is asked again that could not seal everything yet.
const resealFor = 2 * time.Minute

func keysRotate(cmd *cobra.Command, r *remote, o rotation) error {
	if r.config == "" {
		return errors.New("say which bridge: --config FILE; the key file is found through it")
	}
	cfg, _, err := loadConfig(r.config, "", false)
	if err != nil {
		return err
	}
	file, _ := cfg.MasterKey()
	out := cmd.OutOrStdout()
	if r.json {
		out = io.Discard
	}
	key, err := beginRotation(out, file, o)
	if err != nil {
		return err
	}
	done, err := reseal(cmd, r, cfg)
	if err != nil {
		return fmt.Errorf("%w\nboth keys stay in %s and the bridge works with both: run this again to finish", err, file)
	}
	if done.Key != key.Newest {
		return fmt.Errorf("the bridge seals under the key %s, and the newest one in %s is %s: is that the file it runs with? Copy it to every replica and run this again; until then both keys stay", done.Key, file, key.Newest)
	}
	if !o.keepOld && !o.keepFile {
		if _, err := keyring.RetireKeys(file); err != nil {
			return fmt.Errorf("everything is sealed under the new key, but the old one could not be taken out: %w", err)
		}
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), done)
	}
	return tellRotation(out, file, key, done, o)
}

func beginRotation(out io.Writer, file string, o rotation) (keyring.Rotation, error) {
	if o.keepFile {
		return keyring.Standing(file)
	}
	key, err := keyring.AddKey(file)
	if err != nil {
		return key, err
	}
	text := fmt.Sprintf("%s: new key %s\n", file, key.Newest)
	if key.Begun {
		text = fmt.Sprintf("%s: a rotation to the key %s is under way, it is finished now\n", file, key.Newest)
	}
	_, err = io.WriteString(out, text)
	return key, err
}

func tellRotation(out io.Writer, file string, key keyring.Rotation, done api.Resealed, o rotation) error {
	text := fmt.Sprintf("%d stored secrets are sealed under %s, %d of them now\n", done.Values-done.Unreadable, done.Key, done.Resealed)
	if done.Unreadable > 0 {
		text += fmt.Sprintf("%d could be opened by no key and were left as they are; monitors list shows who has to sign in again\n", done.Unreadable)
	}
	switch older := strings.Join(key.Older, ", "); {
	case older == "":
	case o.keepOld || o.keepFile:
		text += fmt.Sprintf("%s: the old key %s is not needed any more once every replica has this file\n", file, older)
	default:
		text += fmt.Sprintf("%s: the old key %s was retired\n", file, older)
	}
	_, err := io.WriteString(out, text)
	return err
}

// reseal has the running bridge do it, or does it in the stopped one's place.
func reseal(cmd *cobra.Command, r *remote, cfg *config.Config) (api.Resealed, error) {
	c, err := r.client()
	if err != nil {
		return app.ResealStopped(cmd.Context(), cfg, slog.New(slog.DiscardHandler)) // it never ran: there is no token
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), resealFor)
	defer cancel()
	for {
		done, err := c.Reseal(ctx)
		var unreached *client.ReachError
		switch {
		case err == nil:
			return done, nil
		case errors.As(err, &unreached) && !unreached.Final && ctx.Err() == nil:
			return app.ResealStopped(cmd.Context(), cfg, slog.New(slog.DiscardHandler))
		case !client.IsUnavailable(err):
			return done, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return done, err
		}
	}
}

func keysRotateCertificate(cmd *cobra.Command, r *remote) error {
	c, accounts, err := r.reach(cmd)
	if err != nil {
		return err
	}
	all := map[string]api.CertificateRotation{}
	for _, account := range accounts {
		done, err := c.RotateCertificate(cmd.Context(), account)
		if err != nil {
			return err
		}
		all[account] = done
		if r.json {
			continue
		}
		text := fmt.Sprintf("%s: new certificate %s; no subscription names another one\n", account, done.CertificateID)
		if done.Subscriptions > 0 {
			text = fmt.Sprintf("%s: new certificate %s; %d subscriptions are made anew with it, until %s\n", account, done.CertificateID, done.Subscriptions, stamp(done.Until))
		}
		if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
			return err
		}
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), all)
	}
	return nil
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"presencebridge/cmd/internal/config"
	"presencebridge/graph/notify"
	"presencebridge/graph/notify/keyfile"
)

// maxCapture is the largest captured notification that is read.
const maxCapture = 64 << 20

func newNotification() *cobra.Command {
	cmd := &cobra.Command{Use: "notification", Short: "Look into a captured notification"}
	var d decode
	dec := &cobra.Command{
		Use: "decode --key FILE < notification.json", Args: cobra.NoArgs,
		Short: "Say what a captured notification holds, and what the checks say",
		Long: "Says what a captured notification holds, and what the checks say. The exit status is 1 if the bridge would refuse\n" +
			"any of it; what is not checked, for want of --jwks, --tenant or --client-id, does not count.",
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	f := dec.Flags()
	f.StringVar(&d.key, "key", "", "file with the private key: PEM or PKCS #12")
	f.StringVar(&d.password, "password", "", "password of the key file (visible to others on this machine: --password-file is not)")
	f.StringVar(&d.passwordFile, "password-file", "", "file with the password of the key file")
	f.StringVar(&d.jwks, "jwks", "", "file with the login endpoint's signing keys; without it the tokens' signatures are not checked")
	f.StringVar(&d.tenant, "tenant", "", "tenant id that items and tokens should be of")
	f.StringSliceVar(&d.audiences, "client-id", nil, "application id that tokens should be for")
	f.BoolVar(&d.json, "json", false, "print JSON")
	required(dec, "key")
	cmd.AddCommand(dec)
	return cmd
}

type decode struct {
	key, password, passwordFile, jwks, tenant string
	audiences                                 []string
	json                                      bool
}

func (d *decode) run(cmd *cobra.Command) error {
	password := d.password
	if d.passwordFile != "" {
		var err error
		if password, err = config.ReadSecret(d.passwordFile); err != nil {
			return err
		}
	}
	key, err := keyfile.Load(d.key, password)
	if err != nil {
		return err
	}
	opts := notify.DescribeOptions{Keys: []notify.Certificate{key.Decryption("")}, TenantID: d.tenant, Audiences: d.audiences}
	if d.jwks != "" {
		if opts.JWKS, err = os.ReadFile(d.jwks); err != nil {
			return fmt.Errorf("--jwks: %w", err)
		}
	}
	body, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxCapture+1))
	if err != nil {
		return err
	}
	if len(body) > maxCapture {
		return fmt.Errorf("the notification is larger than %d MiB", maxCapture>>20)
	}
	desc, err := notify.Describe(cmd.Context(), opts, body)
	if err != nil {
		return err
	}
	write := desc.WriteText
	if d.json {
		write = func(w io.Writer) error { return writeJSON(w, desc) }
	}
	return errors.Join(write(cmd.OutOrStdout()), verdict(desc))
}

// verdict is an error when the bridge would refuse the body or one of its items, so that a script can tell from the
// exit status. What was not checked, for want of keys or ids, is no reason.
func verdict(desc *notify.Description) error {
	if desc.Problem != nil {
		return errors.New("the bridge would refuse this notification")
	}
	refused := 0
	for i := range desc.Items {
		it := &desc.Items[i]
		if it.Problem != nil || (desc.TokenProblem != nil && it.Kind == notify.Rich) {
			refused++
		}
	}
	if refused > 0 {
		return fmt.Errorf("the bridge would refuse %d of %d items", refused, len(desc.Items))
	}
	return nil
}

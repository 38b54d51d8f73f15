package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/cmd/internal/config"
)

// signIn is how a command has a monitor signed in.
type signIn struct {
	redirect, link, device bool
	wait                   bool
	application            string
	secretFile             string
}

func (s *signIn) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&s.device, "device-code", false, "print a code to enter on Microsoft's page (default)")
	f.BoolVar(&s.redirect, "redirect", false, "print an address to open in a browser now, within 15 minutes")
	f.BoolVar(&s.link, "copy-url", false, "print an address to send to somebody else, who opens it once within 24 hours")
	f.BoolVar(&s.wait, "wait", false, "with --copy-url: wait for it")
	f.StringVar(&s.application, "application", "", "client id of the application to sign in for; default: the first that needs it")
	cmd.MarkFlagsMutuallyExclusive("device-code", "redirect", "copy-url")
}

func (s *signIn) method() api.Method {
	switch {
	case s.redirect:
		return api.ByRedirect
	case s.link:
		return api.ByLink
	default:
		return api.ByDeviceCode
	}
}

// request is what the bridge is asked for.
func (s *signIn) request() (api.AuthorizeRequest, error) {
	in := api.AuthorizeRequest{Method: s.method(), ClientID: s.application}
	if s.secretFile == "" {
		return in, nil
	}
	var err error
	if in.ClientSecret, err = config.ReadSecret(s.secretFile); err != nil {
		return in, fmt.Errorf("--client-secret-file: %w", err)
	}
	return in, nil
}

func newAuthorize(r *remote) *cobra.Command {
	var s signIn
	cmd := &cobra.Command{
		Use: "authorize UPN", Short: "Sign a monitor in", Args: cobra.ExactArgs(1),
		Long: "Whoever knows the monitor's password signs in as the monitor, in one of three ways: by a code to enter on\n" +
			"Microsoft's page, by an address to open now, or by an address to send to somebody else. The command waits and\n" +
			"says what became of it, except for an address that was sent: monitors list shows that.\n" +
			"--redirect and --copy-url need the redirect URI public_url/authorize/callback in the application's registration.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return signInBy(cmd, r, &s, args[0], (*client.Client).AuthorizeWith)
		},
	}
	s.flags(cmd)
	return cmd
}

// beginSignIn is the client's call that begins one.
type beginSignIn func(c *client.Client, ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error)

// signInBy begins a sign-in, shows what a person needs for it, waits, and says what became of it.
func signInBy(cmd *cobra.Command, r *remote, s *signIn, upn string, begin beginSignIn) error {
	in, err := s.request()
	if err != nil {
		return err
	}
	c, err := r.client()
	if err != nil {
		return err
	}
	account, err := r.accountOfMonitor(cmd, upn)
	if err != nil {
		return err
	}
	auth, err := begin(c, cmd.Context(), account, upn, in)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	sent := auth.Method == api.ByLink && !s.wait
	if auth.Pending() && !(sent && r.json) {
		if err := showSignIn(out, &auth, !sent); err != nil {
			return err
		}
	}
	if auth.Pending() && !sent {
		next, err := c.AwaitAuthorization(cmd.Context(), auth)
		if cmd.Context().Err() != nil { // somebody pressed Ctrl-C: the sign-in is the bridge's, not this command's
			return fmt.Errorf("nobody waits any more; the sign-in stays open until %s, and presence-bridge monitors list says what became of it",
				auth.ExpiresAt.Local().Format(time.DateTime))
		}
		if err != nil {
			return err
		}
		auth = next
	}
	switch {
	case r.json:
		err = writeJSON(out, auth)
	case !auth.Pending():
		_, err = fmt.Fprintf(out, "%s: %s\n", auth.State, auth.Message)
		if err == nil && auth.State == api.AuthorizationDone && s.application == "" {
			err = tellOthers(cmd, c, account, auth)
		}
	}
	if err == nil && !auth.Pending() && auth.State != api.AuthorizationDone {
		err = errSilent
	}
	return err
}

// tellOthers names the applications that the monitor is still to be signed in for.
func tellOthers(cmd *cobra.Command, c *client.Client, account string, done api.Authorization) error {
	list, err := c.Monitors(cmd.Context(), account)
	if err != nil {
		return err
	}
	for i := range list {
		m := &list[i]
		if !strings.EqualFold(m.UPN, done.UPN) || m.ClientID == "" || m.ClientID == done.ClientID || m.State == "authorized" {
			continue
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "Application %d (%s) still needs a sign-in: presence-bridge monitors authorize %s --application %s\n",
			m.Application, m.ClientID, m.UPN, m.ClientID); err != nil {
			return err
		}
	}
	return nil
}

func showSignIn(out io.Writer, a *api.Authorization, waiting bool) error {
	left := time.Until(a.ExpiresAt).Round(time.Minute)
	text := fmt.Sprintf("Open   %s\nEnter  %s\nSign in as %s within %s.\n", a.VerificationURI, a.UserCode, a.UPN, left)
	if a.URL != "" {
		text = fmt.Sprintf("Open   %s\nSign in as %s within %s. The address is good once.\n", a.URL, a.UPN, left)
	}
	if waiting {
		text += "\nWaiting ...\n"
	}
	_, err := io.WriteString(out, text)
	return err
}

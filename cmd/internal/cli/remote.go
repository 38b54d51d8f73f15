package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"presencebridge/bridge/console/client"
	"presencebridge/bridge/console/client/api"
	"presencebridge/cmd/internal/config"
)

// remote is how a command finds a running bridge.
type remote struct {
	config, url, tokenFile string
	account                string
	json                   bool
}

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&r.config, "config", "", "configuration file of the running bridge: address and token are found through it")
	f.StringVar(&r.url, "url", "", "address of the admin listener, with --token-file, instead of --config")
	f.StringVar(&r.tokenFile, "token-file", "", "file with the admin token")
	f.StringVar(&r.account, "account", "", "account; default: all, or the one that knows the user")
}

func (r *remote) client() (*client.Client, error) {
	url, tokenFile := r.url, r.tokenFile
	switch {
	case r.config != "":
		cfg, _, err := loadConfig(r.config, "", false)
		if err != nil {
			return nil, err
		}
		if url == "" {
			url = cfg.AdminURL()
		}
		if tokenFile == "" {
			tokenFile, _ = cfg.AdminToken()
		}
	case url == "" || tokenFile == "":
		return nil, errors.New("say which bridge: --config FILE, or --url URL with --token-file FILE")
	}
	if !strings.Contains(url, "://") {
		return nil, fmt.Errorf("--url %s: write it in full, for example http://127.0.0.1:8080", url)
	}
	token, err := config.ReadSecret(tokenFile)
	if err != nil {
		return nil, fmt.Errorf("admin token: %w; the bridge makes it on its first start", err)
	}
	return client.New(url, token)
}

// accounts are the account asked for, or all.
func (r *remote) accounts(cmd *cobra.Command, c *client.Client) ([]string, error) {
	list, err := c.Accounts(cmd.Context())
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list))
	for _, a := range list {
		names = append(names, a.Name)
	}
	switch {
	case r.account == "":
		return names, nil
	case slices.Contains(names, r.account):
		return []string{r.account}, nil
	default:
		return nil, fmt.Errorf("there is no account %q: use --account %s", r.account, strings.Join(names, " or "))
	}
}

// reach makes the client, and says which accounts are asked for.
func (r *remote) reach(cmd *cobra.Command) (c *client.Client, accounts []string, err error) {
	if c, err = r.client(); err != nil {
		return nil, nil, err
	}
	accounts, err = r.accounts(cmd, c)
	return c, accounts, err
}

// member finds a member in the account asked for, or in whichever has one.
func (r *remote) member(cmd *cobra.Command, c *client.Client, key string) (account string, m api.Member, err error) {
	accounts, err := r.accounts(cmd, c)
	if err != nil {
		return "", m, err
	}
	var in, near []string
	for _, name := range accounts {
		found, err := c.Member(cmd.Context(), name, key)
		if client.IsNotFound(err) {
			near = proposals(near, err)
			continue
		}
		if err != nil {
			return "", m, err
		}
		in, m = append(in, name), found
	}
	switch len(in) {
	case 0:
		return "", m, notFound(key, accounts, near)
	case 1:
		return in[0], m, nil
	default:
		return "", m, fmt.Errorf("%q is in more than one account, say which: --account %s", key, strings.Join(in, " or "))
	}
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table writes rows in columns.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		if _, err := fmt.Fprintln(tw, strings.Join(r, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func newUsers() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "users", Short: "Show members, with both sides' state and coverage"}
	r.flags(cmd)
	cmd.PersistentFlags().BoolVar(&r.json, "json", false, "print JSON")
	var text string
	list := &cobra.Command{
		Use: "list", Short: "List the members", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return usersList(cmd, r, text) },
	}
	list.Flags().StringVar(&text, "find", "", "only members whose name, UPN, mail, extension or id holds this")
	get := &cobra.Command{
		Use: "get USER", Short: "Show one member: id, UPN, mail or extension", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return usersGet(cmd, r, args[0]) },
	}
	cmd.AddCommand(list, get, newExplain(r))
	return cmd
}

func usersList(cmd *cobra.Command, r *remote, text string) error {
	c, accounts, err := r.reach(cmd)
	if err != nil {
		return err
	}
	rows := [][]string{{"ACCOUNT", "USER", "COVERAGE", "TEAMS", "PBX", "OURS"}}
	all := []api.Member{}
	owners := map[string]string{}
	for _, account := range accounts {
		for m, err := range c.Members(cmd.Context(), account, text) {
			if err != nil {
				return err
			}
			if r.json {
				all = append(all, m)
			}
			owners[account] = m.Owner
			rows = append(rows, []string{account, or(m.UPN, m.ID), string(m.Coverage), m.Teams.Shown.String(), phones(&m), ours(&m)})
		}
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), all)
	}
	if len(rows) == 1 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "no members")
		return err
	}
	if err := table(cmd.OutOrStdout(), rows); err != nil {
		return err
	}
	return showOwners(cmd.OutOrStdout(), owners)
}

// showOwners says below a list which replica owns each account.
func showOwners(out io.Writer, owners map[string]string) error {
	for _, account := range slices.Sorted(maps.Keys(owners)) {
		if owners[account] == "" { // an older bridge does not say
			continue
		}
		if _, err := fmt.Fprintf(out, "%s is owned by the replica %s\n", account, owners[account]); err != nil {
			return err
		}
	}
	return nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func phones(m *api.Member) string {
	var out []string
	for i := range m.Endpoints {
		ep := &m.Endpoints[i]
		if !ep.Known {
			out = append(out, ep.PBX+" "+or(ep.Extension, ep.User)+": unknown")
			continue
		}
		out = append(out, fmt.Sprintf("%s %s: %s, %s", ep.PBX, or(ep.Extension, ep.User), or(string(ep.Line), "unknown"), ep.Shown))
	}
	return strings.Join(out, "; ")
}

// ours is what of it the bridge has put there.
func ours(m *api.Member) string {
	var out []string
	if a := m.Teams.Assertion; a != nil {
		out = append(out, "Teams: "+a.Value+masked(a))
	}
	if c := m.Teams.Competing; c != nil {
		out = append(out, "Teams: "+competing(c))
	}
	for i := range m.Endpoints {
		ep := &m.Endpoints[i]
		if a := ep.Assertion; a != nil {
			out = append(out, ep.PBX+": "+a.Value+masked(a))
		}
		if o := ep.Override; o != nil {
			out = append(out, ep.PBX+": overridden by hand since "+stamp(o.Since)+over(o))
		}
		if c := ep.Competing; c != nil {
			out = append(out, ep.PBX+": "+competing(c))
		}
	}
	return strings.Join(out, "; ")
}

// competing says that another program fights over a side.
func competing(c *api.Competing) string {
	return fmt.Sprintf("competing writers since %s, left alone until %s", stamp(c.Since), stamp(c.Until))
}

func appendCompeting(rows [][]string, c *api.Competing) [][]string {
	if c == nil {
		return rows
	}
	return append(rows, []string{"  competing writers", fmt.Sprintf(
		"since %s another program keeps changing what the bridge writes here; left alone until %s (alert %s)", stamp(c.Since), stamp(c.Until), c.Alert)})
}

// masked says that an assertion does not show, since when and because of what.
func masked(a *api.Assertion) string {
	if !a.Masked {
		return ""
	}
	return " (masked since " + stamp(a.MaskedSince) + " by the person's own " + a.MaskedBy + ")"
}

// over is what policy wanted when the person chose by hand.
func over(o *api.Override) string {
	if o.Of == "" {
		return ""
	}
	return " (policy wanted " + o.Of + ")"
}

func usersGet(cmd *cobra.Command, r *remote, key string) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	account, m, err := r.member(cmd, c, key)
	if err != nil {
		return err
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), m)
	}
	return table(cmd.OutOrStdout(), memberRows(account, &m))
}

func memberRows(account string, m *api.Member) [][]string {
	rows := [][]string{
		{"member", or(m.Name, m.UPN) + " <" + or(m.Mail, m.UPN) + ">"}, {"account", account}, {"owned by", or(m.Owner, "not said")}, {"id", m.ID},
		{"coverage", strings.Join(append([]string{string(m.Coverage)}, m.CoverageReasons...), ": ")},
		{"Teams shows", m.Teams.Shown.String() + "  (own state: " + organic(&m.Teams) + ")"},
	}
	if a := m.Teams.Assertion; a != nil {
		until := ""
		if !a.Until.IsZero() {
			until = ", until " + stamp(a.Until) + " unless prolonged"
		}
		rows = append(rows, []string{"  asserted by us", fmt.Sprintf("%s (%s) since %s, because of %s%s", a.Value, a.Phase, stamp(a.Since), a.From, until)})
		if a.Masked {
			rows = append(rows, []string{"  masked", fmt.Sprintf("since %s, by the person's own %s", stamp(a.MaskedSince), a.MaskedBy)})
		}
	}
	rows = appendCompeting(rows, m.Teams.Competing)
	rows = appendWould(rows, m.Teams.Would)
	rows = append(rows, []string{"  because", inWords(m.Teams.Because)})
	rows = appendPending(rows, m.Teams.Pending)
	for i := range m.Endpoints {
		ep := &m.Endpoints[i]
		state := "unknown: not seen for a while"
		if ep.Known {
			state = fmt.Sprintf("%s, %s  (own status: %s)", or(string(ep.Line), "unknown"), ep.Shown, ep.Organic)
		}
		rows = append(rows, []string{ep.PBX + " " + or(ep.Extension, ep.User) + " shows", state})
		if a := ep.Assertion; a != nil {
			afterwards := ", beside the person's own"
			if a.Previous != "" {
				afterwards = ", afterwards " + a.Previous + " again"
			}
			rows = append(rows, []string{"  asserted by us", fmt.Sprintf("%s (%s) since %s%s", a.Value, a.Phase, stamp(a.Since), afterwards)})
		}
		if o := ep.Override; o != nil {
			rows = append(rows, []string{"  overridden", "the person chose by hand at " + stamp(o.Since) + over(o)})
		}
		rows = appendCompeting(rows, ep.Competing)
		rows = appendWould(rows, ep.Would)
		rows = append(rows, []string{"  because", inWords(ep.Because)})
		rows = appendPending(rows, ep.Pending)
	}
	return rows
}

// inWords writes reasons as a person would.
func inWords(because []string) string {
	return strings.ReplaceAll(strings.Join(because, ", "), "_", " ")
}

// appendWould shows what an account that only observes would have written.
func appendWould(rows [][]string, w *api.Would) [][]string {
	if w == nil {
		return rows
	}
	return append(rows, []string{"  would be", fmt.Sprintf("%s since %s, but the account only observes", w.Value, stamp(w.Since))})
}

func appendPending(rows [][]string, pending []string) [][]string {
	if len(pending) == 0 {
		return rows
	}
	return append(rows, []string{"  waiting for", strings.Join(pending, ", ")})
}

func organic(t *api.Teams) string {
	switch t.OrganicState {
	case "seen":
		return t.Organic.String()
	case "hidden":
		return "hidden under ours"
	default:
		return "unknown"
	}
}

func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

package setup

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/template"

	"presencebridge/cmd/internal/config"
	"presencebridge/graph"
)

// Format is a form in which the plan can be printed.
type Format string

// The formats.
const (
	FormatCLI        Format = "cli"        // a bash script for the Azure CLI
	FormatPowerShell Format = "powershell" // a script for Microsoft Graph PowerShell
	FormatList       Format = "list"       // for people who do it by hand
)

// Formats are all formats.
func Formats() []Format { return []Format{FormatCLI, FormatPowerShell, FormatList} }

//go:embed templates
var templates embed.FS

// plan is what the templates are filled in with.
type plan struct {
	Account, Tenant           string
	Graph, GraphAppID         string
	AzureCloud, MgEnvironment string
	Redirect                  string // "" without monitors
	Applications              []registration
	Several                   bool // applications
	Places                    int  // of a monitor
	Delegated                 []Permission
	Subscriptions             bool
	Monitors                  []monitor
	NextSteps                 []string
}

// registration is an application to be registered.
type registration struct {
	ClientID        string
	Key             string // of ClientID, as it is called in the configuration of an account
	Name            string
	Files           string // what the names of the files begin with that a script makes for it
	Permissions     []Permission
	SecretFile      string
	CertificateFile string // "" with a secret
}

// monitor is a user to be made.
type monitor struct {
	UPN      string
	JSON     string // the UPN as it stands between the quotes of a JSON string
	Nickname string
}

// Azure writes what an account needs in Entra. The error says that the format is not known or that w does not take it.
func Azure(w io.Writer, cfg *config.Config, account *config.Account, format Format) error {
	switch format {
	case FormatCLI, FormatPowerShell, FormatList:
	default:
		return fmt.Errorf("--format %s: use cli, powershell or list", format)
	}
	p, err := newPlan(cfg, account)
	if err != nil {
		return err
	}
	file := string(format) + ".tmpl"
	t, err := template.New(file).Funcs(template.FuncMap{"sh": shQuote, "ps": psQuote}).ParseFS(templates, "templates/"+file)
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

func newPlan(cfg *config.Config, a *config.Account) (plan, error) {
	cloud, err := graph.Cloud(a.Graph.Cloud).Info()
	if err != nil {
		return plan{}, err
	}
	p := plan{
		Account: a.Name, Tenant: a.Graph.TenantID, Graph: cloud.Graph, GraphAppID: GraphAppID, Applications: registrations(a),
		Several: len(a.Graph.Applications) > 0, Subscriptions: cloud.Subscriptions,
	}
	p.Places = graph.MaxPresences * len(p.Applications)
	once := ""
	if p.Several {
		once = ", once for each application"
	}
	p.AzureCloud, p.MgEnvironment = clouds(cloud.Cloud)
	p.NextSteps = append(p.NextSteps, "Then: presence-bridge verify --config FILE --account "+a.Name)
	if !cloud.Subscriptions || len(a.Monitors) == 0 {
		return p, nil
	}
	p.Delegated, p.Redirect = DelegatedPermissions(), RedirectURI(cfg.PublicURL)
	for _, upn := range a.MonitorUPNs() {
		m, err := newMonitor(upn)
		if err != nil {
			return plan{}, err
		}
		p.Monitors = append(p.Monitors, m)
		p.NextSteps = append(p.NextSteps, "Sign the monitor in once the bridge runs"+once+": presence-bridge monitors authorize "+upn)
	}
	return p, nil
}

// registrations are the account's applications. A further one is called after its place, which it keeps.
func registrations(a *config.Account) []registration {
	var out []registration
	for i, app := range a.Graph.AllApplications() {
		r := registration{
			ClientID: app.ClientID, Key: "client_id", Name: "presence-bridge " + a.Name, Files: a.Name,
			Permissions: ApplicationPermissions(NamesGroups(a)), SecretFile: app.ClientSecretFile, CertificateFile: app.CertificateFile,
		}
		if i > 0 {
			r.Key, r.Permissions = fmt.Sprintf("applications[%d].client_id", i-1), FurtherPermissions()
			r.Name, r.Files = fmt.Sprintf("%s %d", r.Name, i+1), fmt.Sprintf("%s-%d", r.Files, i+1)
		}
		out = append(out, r)
	}
	return out
}

// clouds are the names that Microsoft's two tools have for a cloud.
func clouds(c graph.Cloud) (azure, mg string) {
	switch c {
	case graph.CloudUSGovL4:
		return "AzureUSGovernment", "USGov"
	case graph.CloudUSGovL5:
		return "AzureUSGovernment", "USGovDoD"
	case graph.CloudChina:
		return "AzureChinaCloud", "China"
	case graph.CloudGlobal:
	}
	return "AzureCloud", "Global"
}

var notNickname = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

func newMonitor(upn string) (monitor, error) {
	quoted, err := json.Marshal(upn)
	if err != nil {
		return monitor{}, fmt.Errorf("monitor %q: %w", upn, err)
	}
	local, _, _ := strings.Cut(upn, "@")
	nickname := strings.Trim(notNickname.ReplaceAllString(local, "-"), ".-")
	if nickname == "" {
		nickname = "presence-monitor"
	}
	return monitor{UPN: upn, JSON: strings.Trim(string(quoted), `"`), Nickname: nickname}, nil
}

// shQuote makes a literal of a POSIX shell.
func shQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// psQuote makes a literal of PowerShell, which takes typographic quotation marks for its own.
func psQuote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		if strings.ContainsRune("'\u2018\u2019\u201a\u201b", r) {
			b.WriteRune(r)
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}

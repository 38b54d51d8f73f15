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
	Account, Tenant, ClientID string
	Name                      string // of the app registration
	Graph, GraphAppID         string
	AzureCloud, MgEnvironment string
	Redirect                  string // "" without monitors
	Application, Delegated    []Permission
	SecretFile                string
	CertificateFile           string // "" with a secret
	Subscriptions             bool
	Monitors                  []monitor
	NextSteps                 []string
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
		return fmt.Errorf("format %q is not known; use cli, powershell or list", format)
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
		Account: a.Name, Tenant: a.Graph.TenantID, ClientID: a.Graph.ClientID, Name: "presence-bridge " + a.Name,
		Graph: cloud.Graph, GraphAppID: GraphAppID, Application: ApplicationPermissions(NamesGroups(a)),
		SecretFile: a.Graph.ClientSecretFile, CertificateFile: a.Graph.CertificateFile, Subscriptions: cloud.Subscriptions,
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
		p.NextSteps = append(p.NextSteps, "Sign the monitor in once the bridge runs: presence-bridge monitors authorize "+upn)
	}
	return p, nil
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

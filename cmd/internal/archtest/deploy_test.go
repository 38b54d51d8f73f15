package archtest

import (
	"context"
	"go/ast"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/bus"
	"presencebridge/cmd/internal/config"
)

func deployFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "deploy", name))
	require.NoError(t, err)
	return string(text)
}

func decodeYAML(t *testing.T, name string, into any) {
	t.Helper()
	require.NoError(t, yaml.UnmarshalWithOptions([]byte(deployFile(t, name)), into, yaml.Strict()), name)
}

// program finds a program that a test needs. CI has all of them (.ci/run); elsewhere a missing one skips the test.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; CI needs it (Debian package %s)", name, pkg)
	}
	t.Skipf("SKIPPED: %s is not installed (Debian package %s)", name, pkg)
	return ""
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v:\n%s", name, args, out)
	return string(out)
}

func TestDeployRules(t *testing.T) {
	promtool := program(t, "promtool", "prometheus")
	dir := filepath.Join(root(t), "deploy", "prometheus")
	run(t, dir, promtool, "check", "rules", "alerts.yml")
	run(t, dir, promtool, "check", "config", "prometheus.yml")
	run(t, dir, promtool, "test", "rules", "alerts_test.yml")

	// In the container the rules lie beside the configuration.
	beside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(beside, "prometheus.yml"), []byte(deployFile(t, "compose/prometheus.yml")), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(beside, "alerts.yml"), []byte(deployFile(t, "prometheus/alerts.yml")), 0o600))
	run(t, beside, promtool, "check", "config", "prometheus.yml")
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func TestDeployEveryAlertIsTestedAndExplained(t *testing.T) {
	var rules ruleFile
	decodeYAML(t, "prometheus/alerts.yml", &rules)
	var tests struct {
		Tests []struct {
			Alerts []struct {
				Name string `yaml:"alertname"`
				Exp  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(deployFile(t, "prometheus/alerts_test.yml")), &tests))
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, group := range tests.Tests {
		for _, a := range group.Alerts {
			fires[a.Name] = fires[a.Name] || len(a.Exp) > 0
			quiet[a.Name] = quiet[a.Name] || len(a.Exp) == 0
		}
	}
	readme := deployFile(t, "README.md")
	require.NotEmpty(t, rules.Groups)
	for _, r := range rules.Groups[0].Rules {
		require.True(t, fires[r.Alert], "no test shows %s firing", r.Alert)
		require.True(t, quiet[r.Alert], "no test shows %s keeping quiet", r.Alert)
		require.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
		require.Contains(t, readme, r.Alert, "deploy/README.md does not explain it")
	}
}

// A rule about a metric that nobody registers is silent for ever. The names are put together in many ways, so the test
// asks for the name, or the end of it after a prefix, as literals in a file that registers metrics.
func TestDeployMetricsExist(t *testing.T) {
	literals := metricLiterals(t)
	name := regexp.MustCompile(`presence_bridge_[a-z0-9_]+`)
	used := name.FindAllString(deployFile(t, "prometheus/alerts.yml"), -1)
	require.NotEmpty(t, used)
	for _, m := range used {
		base := m
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			base = strings.TrimSuffix(base, suffix)
		}
		require.True(t, registered(literals, base), "the rules use %s, which no package registers", m)
	}
	require.False(t, registered(literals, "presence_bridge_bus_frobnications_total"))
}

func metricLiterals(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	literal := regexp.MustCompile(`"([a-z0-9_]+)"`)
	for _, p := range packages(t) {
		for _, f := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, f))
			require.NoError(t, err)
			if !strings.Contains(string(text), "prometheus.") {
				continue
			}
			for _, m := range literal.FindAllSubmatch(text, -1) {
				found[string(m[1])] = true
			}
		}
	}
	return found
}

func registered(literals map[string]bool, metric string) bool {
	if literals[metric] {
		return true
	}
	for i, r := range metric {
		// "presence_bridge_bus_" + "free_bytes", or Namespace, Subsystem and Name apart
		if r == '_' && i >= len("presence_bridge") && literals[metric[i+1:]] && prefixKnown(literals, metric[:i]) {
			return true
		}
	}
	return false
}

func prefixKnown(literals map[string]bool, prefix string) bool {
	subsystem := strings.TrimPrefix(strings.TrimPrefix(prefix, "presence_bridge"), "_")
	return literals[prefix+"_"] || literals[prefix] || literals[subsystem]
}

type compose struct {
	Name     string
	Services map[string]struct {
		Build       struct{ Context, Dockerfile string }
		Image       string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Restart     string
		StopGrace   string   `yaml:"stop_grace_period"`
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
		Command     []string
		Ports       []string
		Volumes     []string
		Healthcheck struct {
			Test              []string
			Interval, Timeout string
			Retries           int
		}
	}
	Volumes map[string]any
}

func TestDeployCompose(t *testing.T) {
	var c compose
	decodeYAML(t, "compose.yaml", &c)
	for name, s := range c.Services {
		require.True(t, s.ReadOnly, name)
		require.Equal(t, []string{"ALL"}, s.CapDrop, name)
		require.Contains(t, s.SecurityOpt, "no-new-privileges:true", name)
		if name != "bridge" {
			require.Regexp(t, `:v?\d+\.\d+`, s.Image, "%s: pin the version", name)
		}
		for other := range s.DependsOn {
			require.NotEmpty(t, c.Services[other].Healthcheck.Test, "%s waits for %s to be healthy", name, other)
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if path, ok := strings.CutPrefix(from, "./"); ok && path != "compose/secrets" { // made by make-keys
				require.FileExists(t, filepath.Join(root(t), "deploy", path), name)
			} else if !ok {
				require.Contains(t, c.Volumes, from, name)
			}
		}
	}
	require.FileExists(t, filepath.Join(root(t), "deploy", c.Services["bridge"].Build.Context, c.Services["bridge"].Build.Dockerfile))

	cfg := composeConfig(t)
	bridge := c.Services["bridge"]
	webhook, admin := port(cfg.Listen.Webhook), port(cfg.Listen.Admin)
	require.Contains(t, bridge.Ports, webhook+":"+webhook)
	require.Contains(t, bridge.Ports, "127.0.0.1:"+admin+":"+admin, "the admin listener is not for the internet")
	require.Contains(t, bridge.Volumes, "bridge-data:"+cfg.DataDir)
	require.Contains(t, deployFile(t, "compose/prometheus.yml"), `["bridge:`+admin+`"]`)
	require.Contains(t, deployFile(t, "prometheus/prometheus.yml"), `["127.0.0.1:`+admin+`"]`)
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

// composeConfig makes the keys as an administrator would, and checks the configuration with them as `config check` does.
func composeConfig(t *testing.T) *config.Config {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(root(t), "deploy", "compose"))))
	require.NoError(t, os.Chmod(filepath.Join(dir, "make-keys"), 0o700))
	t.Setenv("BRIDGE_UID", "0")
	run(t, dir, "sh", "./make-keys")
	again := run(t, dir, "sh", "./make-keys")
	require.NotContains(t, again, "made", "keys that exist stay")
	for _, secret := range []string{"contoso-client-secret", "contoso-pbx-token"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "secrets", secret), []byte("s"), 0o600))
	}
	cfg, err := config.Load(filepath.Join(dir, "config.yaml"), config.Options{Files: true})
	require.NoError(t, err)
	return cfg
}

func TestDeployNATS(t *testing.T) {
	o, err := server.ProcessConfigFile(filepath.Join(root(t), "deploy", "compose", "nats.conf"))
	require.NoError(t, err)
	cfg := composeConfig(t)
	require.True(t, o.JetStream)
	require.True(t, o.SyncAlways)
	require.Greater(t, o.JetStreamMaxStore, int64(cfg.NATS.MaxStore))
	require.Greater(t, int64(o.MaxPayload), int64(cfg.Webhook.MaxBody))
	require.Equal(t, "nats://nats:4222", cfg.NATS.URL)
	require.Equal(t, 4222, o.Port)

	var c compose
	decodeYAML(t, "compose.yaml", &c)
	require.Contains(t, c.Services["nats"].Volumes, "nats-data:"+o.StoreDir)
	version := strings.Split(server.VERSION, ".")
	require.Contains(t, c.Services["nats"].Image, ":"+version[0]+"."+version[1]+"-", "the server that the tests run with")
}

// The server of the compose file is one that the bus accepts: limits, space, features.
func TestDeployNATSCarriesTheBus(t *testing.T) {
	o, err := server.ProcessConfigFile(filepath.Join(root(t), "deploy", "compose", "nats.conf"))
	require.NoError(t, err)
	o.StoreDir, o.Host, o.Port, o.HTTPPort, o.HTTPHost, o.NoSigs = t.TempDir(), "127.0.0.1", -1, 0, "", true
	srv, err := server.NewServer(o)
	require.NoError(t, err)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	require.True(t, srv.ReadyForConnections(10*time.Second))

	cfg := composeConfig(t)
	b, err := bus.Open(t.Context(), bus.Config{URL: srv.ClientURL(), MaxStore: int64(cfg.NATS.MaxStore), History: cfg.History})
	require.NoError(t, err)
	require.NoError(t, b.Ready())
	require.NoError(t, b.StoreNotification(t.Context(), "contoso", []byte(`{"value":[]}`), time.Now(), ""))
	require.NoError(t, b.Close(context.WithoutCancel(t.Context())))
}

func TestDeployContainerfile(t *testing.T) {
	text := deployFile(t, "Containerfile")
	copied := regexp.MustCompile(`(?m)^COPY (\S+) (\S+ )?\./`).FindAllStringSubmatch(text, -1)
	var folders []string
	for _, m := range copied {
		require.True(t, exists(filepath.Join(root(t), m[1])), m[1])
		if m[2] == "" {
			folders = append(folders, m[1])
		}
	}
	require.Equal(t, []string{"bridge", "cmd", "graph", "monitors", "webhook"}, folders)

	mod, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	require.NoError(t, err)
	goVersion := regexp.MustCompile(`ARG GO_VERSION=(\S+)`).FindStringSubmatch(text)
	require.Contains(t, string(mod), "\ngo "+goVersion[1])

	cfg := example(t)
	webhook, admin := port(cfg.Listen.Webhook), port(cfg.Listen.Admin)
	for _, line := range []string{
		"ENV CGO_ENABLED=0", "USER 65532:65532", "EXPOSE " + webhook + " " + admin, "VOLUME " + cfg.DataDir,
		"ENV HEALTH_URL=http://127.0.0.1:" + admin + "/healthz", "STOPSIGNAL SIGTERM",
		`ENTRYPOINT ["/usr/bin/presence-bridge"]`, `CMD ["serve", "--config", "/etc/presence-bridge/config.yaml"]`,
	} {
		require.Contains(t, text, "\n"+line+"\n")
	}
	require.Contains(t, deployFile(t, "compose/make-keys"), "BRIDGE_UID:-65532")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func example(t *testing.T) *config.Config {
	t.Helper()
	cfg, err := config.Load(filepath.Join(root(t), "deploy", "example.yaml"), config.Options{})
	require.NoError(t, err)
	return cfg
}

func TestDeploySystemd(t *testing.T) {
	unit := deployFile(t, "systemd/presence-bridge.service")
	cfg := example(t)
	setting := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + `=(.*)$`).FindStringSubmatch(unit)
		require.NotNil(t, m, key)
		return m[1]
	}
	require.Equal(t, cfg.DataDir, "/var/lib/"+setting("StateDirectory"))
	require.Equal(t, "/usr/bin/presence-bridge serve --config /etc/"+setting("ConfigurationDirectory")+"/config.yaml", setting("ExecStart"))
	require.Contains(t, deployFile(t, "systemd/presence-bridge.sysusers"), "\nu "+setting("User")+" ")
	require.Empty(t, setting("CapabilityBoundingSet"))
	require.Greater(t, len(port(cfg.Listen.Webhook)), 3, "a port below 1024 would need a capability")
	for _, a := range cfg.Accounts {
		require.True(t, strings.HasPrefix(a.Graph.ClientSecretFile, "/etc/presence-bridge/"))
	}
}

func TestDeploySystemdAnalyze(t *testing.T) {
	analyze := program(t, "systemd-analyze", "systemd")
	// The program need not be installed on the machine that tests.
	unit := strings.Replace(deployFile(t, "systemd/presence-bridge.service"), "/usr/bin/presence-bridge ", "/bin/true ", 1)
	file := filepath.Join(t.TempDir(), "presence-bridge.service")
	require.NoError(t, os.WriteFile(file, []byte(unit), 0o600))
	require.Empty(t, strings.TrimSpace(run(t, ".", analyze, "verify", "--man=no", file)))
	// Exposure from 0 to 100; the unit has 12.
	run(t, ".", analyze, "security", "--offline=true", "--no-pager", "--threshold=20", file)
}

func TestDeployScripts(t *testing.T) {
	for _, script := range []string{".ci/run", ".ci/fuzz", "deploy/compose/make-keys"} {
		path := filepath.Join(root(t), script)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NotZero(t, info.Mode().Perm()&0o100, "%s is not executable", script)
		shell := "bash"
		if !strings.HasPrefix(script, ".ci/") {
			shell = "sh"
		}
		run(t, ".", shell, "-n", path)
	}
}

// The linker says nothing when the variable that a version is to be written into does not exist.
func TestDeployVersionVariableExists(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	require.NoError(t, err)
	set := regexp.MustCompile(`-X (\S+)\.(\w+)=`)
	want := set.FindStringSubmatch(string(makefile))
	require.NotNil(t, want)
	require.Equal(t, want[0], set.FindString(deployFile(t, "Containerfile")))
	dir := filepath.Join("cmd", "presence-bridge")
	if want[1] != "main" {
		dir = relative(want[1])
	}
	found := slices.ContainsFunc(sources(t)[dir], func(s source) bool {
		o := s.file.Scope.Lookup(want[2])
		return o != nil && o.Kind == ast.Var && !s.test()
	})
	require.True(t, found, "%s has no variable %s", dir, want[2])
}

// CI runs the very test command that the README tells a newcomer.
func TestReadmeTestCommand(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(root(t), ".ci", "run"))
	require.NoError(t, err)
	command := regexp.MustCompile(`(?m)^stage 'tests' (.*) # the README's test command$`).FindSubmatch(script)
	require.NotNil(t, command)
	readme, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), string(command[1]))
}

// Every file under deploy/ has its line in deploy/README.md.
func TestDeployReadme(t *testing.T) {
	readme := deployFile(t, "README.md")
	var missing []string
	require.NoError(t, filepath.WalkDir(filepath.Join(root(t), "deploy"), func(path string, d os.DirEntry, err error) error {
		rel, relErr := filepath.Rel(filepath.Join(root(t), "deploy"), path)
		switch {
		case err != nil || relErr != nil:
			return err
		case d.IsDir() && d.Name() == "secrets":
			return filepath.SkipDir
		case d.IsDir() || strings.HasPrefix(d.Name(), ".") || rel == "README.md" || strings.Contains(readme, "`"+filepath.ToSlash(rel)+"`"):
			return nil
		}
		missing = append(missing, rel)
		return nil
	}))
	slices.Sort(missing)
	require.Empty(t, missing)
}

// Package connect makes connectors by the type that the configuration names: the one place that knows them all. A new
// PBX is a folder below bridge/pbx, a line in [config.PBXTypes] with the keys of its own, and a line here.
package connect

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/micollab"
	"presencebridge/bridge/pbx/sip"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/cmd/internal/config"
)

// Connector is a connector that holds connections until it is closed.
type Connector interface {
	pbx.Connector
	// Close gives idle connections back. A watch ends with its context.
	Close()
}

// Options are what a connector is made with besides its configuration.
type Options struct {
	Account string
	// DataDir is where a connector may keep what it learnt. Default: it learns anew.
	DataDir string
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// makers by type.
func makers() map[string]func(p *config.PBX, o Options) (Connector, error) {
	return map[string]func(p *config.PBX, o Options) (Connector, error){
		"micollab": newMiCollab,
		"3cx":      new3CX,
		"sip":      newSIP,
	}
}

// New makes the connector of a PBX. It does not talk to the PBX yet.
func New(p *config.PBX, o Options) (Connector, error) {
	maker, ok := makers()[p.Type]
	if !ok {
		return nil, fmt.Errorf("pbx %s: type %q is unknown; known types are %s", p.Name, p.Type, strings.Join(config.PBXTypes(), ", "))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("pbx", p.Name)
	c, err := maker(p, o)
	if err != nil {
		return nil, fmt.Errorf("pbx %s: %w", p.Name, err)
	}
	return c, nil
}

// OneSession tells whether a PBX of a type allows its client one session at a time: whoever signs in ends what the
// bridge has (facts: 3CX authentication).
func OneSession(pbxType string) bool { return pbxType == "3cx" }

func newMiCollab(p *config.PBX, o Options) (Connector, error) {
	cfg := micollab.Config{
		Account: o.Account, Name: p.Name, URL: p.URL, CAFile: p.CAFile, Timeout: p.Timeout,
		Token: func() (string, error) { return config.ReadSecret(p.TokenFile) }, Log: o.Log, Metrics: o.Metrics,
	}
	if o.DataDir != "" {
		cfg.LearntClient = clientFile(filepath.Join(o.DataDir, "pbx-client."+o.Account+"."+p.Name))
	}
	return micollab.New(cfg)
}

func new3CX(p *config.PBX, o Options) (Connector, error) {
	return threecx.New(threecx.Config{
		Account: o.Account, Name: p.Name, URL: p.URL, CAFile: p.CAFile, Timeout: p.Timeout, ClientID: p.ClientID, PollInterval: p.PollInterval,
		Secret: func() (string, error) { return config.ReadSecret(p.ClientSecretFile) }, Log: o.Log, Metrics: o.Metrics,
	})
}

func newSIP(p *config.PBX, o Options) (Connector, error) {
	cfg := sip.Config{
		Account: o.Account, Name: p.Name, URL: p.URL, CAFile: p.CAFile, Timeout: p.Timeout, Username: p.Username, Domain: p.Domain,
		UsersFile: p.UsersFile, ListURI: p.ListURI, Log: o.Log, Metrics: o.Metrics,
	}
	if p.PasswordFile != "" {
		cfg.Password = func() (string, error) { return config.ReadSecret(p.PasswordFile) }
	}
	return sip.New(cfg)
}

// clientFile keeps the name under which a PBX knows us.
type clientFile string

// Load returns the name, "" if none was saved.
func (f clientFile) Load() (string, error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// Save keeps the name.
func (f clientFile) Save(name string) error {
	if err := os.MkdirAll(filepath.Dir(string(f)), 0o700); err != nil {
		return err
	}
	return os.WriteFile(string(f), []byte(name+"\n"), 0o600)
}

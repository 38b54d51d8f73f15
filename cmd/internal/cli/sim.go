package cli

import (
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"presencebridge/bridge/pbx/pbxsim"
	"presencebridge/cmd/internal/sims"
	"presencebridge/graph/graphsim"
)

// simFlags are what both simulators share, so that their people are the same.
type simFlags struct {
	listen, domain, dir, faults string
	members, monitors           int
	seed                        uint64
	rate                        float64
	hands                       bool
	kind                        string // of PBX
}

func newSim() *cobra.Command {
	cmd := &cobra.Command{Use: "sim", Short: "Run a simulator in a process of its own"}
	var g, p simFlags
	graph := &cobra.Command{
		Use: "graph", Args: cobra.NoArgs, Short: "A simulated Microsoft 365 tenant: login, Graph and people",
		PreRunE: func(*cobra.Command, []string) error { return g.check() },
		RunE:    func(cmd *cobra.Command, _ []string) error { return simGraph(cmd, &g) },
	}
	pbx := &cobra.Command{
		Use: "pbx", Args: cobra.NoArgs, Short: "A simulated PBX: one behind the MiCollab-style endpoint, a 3CX, or a SIP PBX",
		PreRunE: func(*cobra.Command, []string) error { return p.check() },
		RunE:    func(cmd *cobra.Command, _ []string) error { return simPBX(cmd, &p) },
	}
	g.flags(graph, "127.0.0.1:9443")
	graph.Flags().IntVar(&g.monitors, "monitors", 1, "monitors; they approve their sign-ins themselves")
	p.flags(pbx, "127.0.0.1:9080")
	pbx.Flags().StringVar(&p.kind, "type", "micollab", "type of PBX: "+strings.Join(slices.Sorted(maps.Keys(pbxSims())), ", "))
	cmd.AddCommand(graph, pbx)
	return cmd
}

func (s *simFlags) flags(cmd *cobra.Command, listen string) {
	f := cmd.Flags()
	f.StringVar(&s.listen, "listen", listen, "address to listen on")
	f.IntVar(&s.members, "members", 50, "people; the same number for both simulators makes the same people")
	f.StringVar(&s.domain, "domain", "contoso.example", "domain of the people's addresses")
	f.StringVar(&s.dir, "dir", "", "folder for the files that the configuration refers to; default presence-bridge-sim/DOMAIN in the temporary folder")
	f.StringVar(&s.faults, "faults", "none", "none, some or cruel")
	f.Uint64Var(&s.seed, "seed", 1, "what people do and which faults strike follows from it")
	f.Float64Var(&s.rate, "rate", 0.1, "fraction of the people that begin something each minute")
	f.BoolVar(&s.hands, "by-hand", false, "people do nothing by themselves: move them through /sim/")
}

// check names the flag that cannot be.
func (s *simFlags) check() error {
	switch {
	case s.members < 1:
		return fmt.Errorf("--members %d: at least one", s.members)
	case s.monitors < 0:
		return fmt.Errorf("--monitors %d: not negative", s.monitors)
	case !s.hands && (!(s.rate > 0) || math.IsInf(s.rate, 0)):
		return fmt.Errorf("--rate %v: a fraction of the people, above 0; --by-hand for people who stand still", s.rate)
	}
	return nil
}

// file writes a file that the configuration refers to.
func (s *simFlags) file(name, content string) (string, error) {
	if s.dir == "" {
		s.dir = filepath.Join(os.TempDir(), "presence-bridge-sim", s.domain)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.Join(s.dir, name)
	return file, os.WriteFile(file, []byte(content), 0o600)
}

func simGraph(cmd *cobra.Command, s *simFlags) error {
	faults, ok := graphsim.Preset(s.faults)
	if !ok {
		return fmt.Errorf("--faults %s: use none, some or cruel", s.faults)
	}
	people := sims.People(s.members, s.domain)
	monitors := sims.Monitors(s.monitors, s.domain)
	sim, err := graphsim.Start(graphsim.Config{
		Listen: s.listen, Domain: s.domain, People: sims.Tenant(people), Monitors: monitors, AutoApprove: true, Seed: s.seed,
		Faults: faults, Delivery: graphsim.Delivery{AllowHTTP: true},
	})
	if err != nil {
		return fmt.Errorf("--listen %s: %w", s.listen, err)
	}
	if !s.hands {
		sim.Live(graphsim.PeopleConfig{Seed: s.seed, Rate: s.rate, Start: true})
	}
	secret, err := s.file("client-secret", sim.ClientSecret)
	if err != nil {
		return err
	}
	ca, err := s.file("graph-ca.pem", string(sim.CAPEM()))
	if err != nil {
		return err
	}
	err = printGraph(cmd.OutOrStdout(), sim, secret, ca, monitors, people)
	if err != nil {
		return err
	}
	<-cmd.Context().Done()
	return sim.Close()
}

func printGraph(out io.Writer, sim *graphsim.Sim, secret, ca string, monitors []string, people []sims.Person) error {
	upns := make([]string, len(monitors))
	for i, m := range monitors {
		upns[i] = "{upn: " + m + "}"
	}
	_, err := fmt.Fprintf(out, `# A simulated tenant listens on %s. An account of presence-bridge uses it with:
    graph:
      tenant_id: %s
      client_id: %s
      client_secret_file: %s
      endpoints: {login: %s, graph: %s, ca_file: %s}
    monitors: [%s]
# Graph posts to public_url; plain HTTP is taken on loopback, for example public_url: http://127.0.0.1:8443
`, sim.GraphURL(), sim.TenantID, sim.ClientID, secret, sim.LoginURL(), sim.GraphURL(), ca, strings.Join(upns, ", "))
	if err != nil || len(people) == 0 {
		return err
	}
	_, err = fmt.Fprintf(out, `# Move people by hand, for example:
#   curl --cacert %s -X POST %s/sim/people/%s -d '{"do":"call"}'
#   curl --cacert %s %s/sim/people
`, ca, sim.GraphURL(), people[0].Mail, ca, sim.GraphURL())
	return err
}

// pbxSims run the simulated PBXs, by type.
func pbxSims() map[string]func(*cobra.Command, *simFlags) error {
	return map[string]func(*cobra.Command, *simFlags) error{"micollab": simMiCollab, "3cx": sim3CX, "sip": simSIP}
}

func simPBX(cmd *cobra.Command, s *simFlags) error {
	run, ok := pbxSims()[s.kind]
	if !ok {
		return fmt.Errorf("--type %s: use %s", s.kind, strings.Join(slices.Sorted(maps.Keys(pbxSims())), ", "))
	}
	return run(cmd, s)
}

func simMiCollab(cmd *cobra.Command, s *simFlags) error {
	faults, err := pbxsim.FaultPreset(s.faults)
	if err != nil {
		return err
	}
	people := sims.People(s.members, s.domain)
	sim, err := pbxsim.Start(pbxsim.Config{Addr: s.listen, UserList: sims.Phones(people), Seed: s.seed, Faults: faults})
	if err != nil {
		return fmt.Errorf("--listen %s: %w", s.listen, err)
	}
	if !s.hands {
		if _, err := sim.NewPeople(pbxsim.PeopleConfig{Rate: s.rate, Seed: s.seed}); err != nil {
			return err
		}
	}
	token, err := s.file("pbx-token", sim.Token())
	if err != nil {
		return err
	}
	if err := printPBX(cmd.OutOrStdout(), sim, token, people); err != nil {
		return err
	}
	<-cmd.Context().Done()
	return sim.Close()
}

func printPBX(out io.Writer, sim *pbxsim.Sim, token string, people []sims.Person) error {
	_, err := fmt.Fprintf(out, `# A simulated PBX listens on %s. An account of presence-bridge uses it with:
    pbx:
      - {name: main, type: micollab, url: %s, token_file: %s}
    policy: {preset: micollab}
`, sim.URL(), sim.URL(), token)
	if err != nil || len(people) == 0 {
		return err
	}
	_, err = fmt.Fprintf(out, `# Move people by hand, for example:
#   curl -X POST %s/sim/users/%s/call
#   curl -X POST %s/sim/users/%s/pick -d '{"status":"Do not disturb"}'
`, sim.URL(), people[0].Extension, sim.URL(), people[0].Extension)
	return err
}

package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"presencebridge/bridge/pbx/threecxsim"
	"presencebridge/cmd/internal/sims"
)

func sim3CX(cmd *cobra.Command, s *simFlags) error {
	faults, err := threecxsim.FaultPreset(s.faults)
	if err != nil {
		return err
	}
	people := sims.People(s.members, s.domain)
	sim, err := threecxsim.Start(threecxsim.Config{Addr: s.listen, UserList: sims.ThreeCX(people), Seed: s.seed, Faults: faults})
	if err != nil {
		return fmt.Errorf("--listen %s: %w", s.listen, err)
	}
	if !s.hands {
		if _, err := sim.NewPeople(threecxsim.PeopleConfig{Rate: s.rate, Seed: s.seed}); err != nil {
			return err
		}
	}
	secret, err := s.file("3cx-key", sim.ClientSecret())
	if err != nil {
		return err
	}
	if err := print3CX(cmd.OutOrStdout(), sim, secret, people); err != nil {
		return err
	}
	<-cmd.Context().Done()
	return sim.Close()
}

func print3CX(out io.Writer, sim *threecxsim.Sim, secret string, people []sims.Person) error {
	_, err := fmt.Fprintf(out, `# A simulated 3CX listens on %s. An account of presence-bridge uses it with:
    pbx:
      - {name: main, type: 3cx, url: %s, client_id: %s, client_secret_file: %s}
    policy: {preset: 3cx}
`, sim.URL(), sim.URL(), sim.ClientID(), secret)
	if err != nil || len(people) == 0 {
		return err
	}
	_, err = fmt.Fprintf(out, `# Move people by hand, for example:
#   curl -X POST %s/sim/users/%s/call
#   curl -X POST %s/sim/users/%s/pick -d '{"status":"Out of office"}'
`, sim.URL(), people[0].Extension, sim.URL(), people[0].Extension)
	return err
}

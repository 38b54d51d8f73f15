package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"presencebridge/bridge/pbx/sipsim"
	"presencebridge/cmd/internal/sims"
)

func simSIP(cmd *cobra.Command, s *simFlags) error {
	faults, err := sipsim.FaultPreset(s.faults)
	if err != nil {
		return err
	}
	people := sims.People(s.members, s.domain)
	sim, err := sipsim.Start(sipsim.Config{
		Addr: s.listen, Control: "127.0.0.1:0", UserList: sims.SIP(people), Domain: "sip." + s.domain, Seed: s.seed, Faults: faults,
	})
	if err != nil {
		return fmt.Errorf("--listen %s: %w", s.listen, err)
	}
	if !s.hands {
		if _, err := sim.NewPeople(sipsim.PeopleConfig{Rate: s.rate, Seed: s.seed}); err != nil {
			return err
		}
	}
	password, err := s.file("sip-password", sim.Password())
	if err != nil {
		return err
	}
	users, err := s.file("sip-users.csv", sim.UsersFile())
	if err != nil {
		return err
	}
	if err := printSIP(cmd.OutOrStdout(), sim, password, users, people); err != nil {
		return err
	}
	<-cmd.Context().Done()
	return sim.Close()
}

func printSIP(out io.Writer, sim *sipsim.Sim, password, users string, people []sims.Person) error {
	_, err := fmt.Fprintf(out, `# A simulated SIP PBX listens on %s, for UDP and TCP. An account of presence-bridge uses it with:
    pbx:
      - {name: main, type: sip, url: %q, username: %s, password_file: %s, domain: %s, users_file: %s}
    policy: {preset: sip}
# In place of users_file, list_uri: %q subscribes to all of them at once.
`, sim.Addr(), sim.URL(), sim.Username(), password, sim.Domain(), users, sim.ListURI())
	if err != nil || len(people) == 0 {
		return err
	}
	_, err = fmt.Fprintf(out, `# Move people by hand, for example:
#   curl -X POST %s/sim/users/%s/call
#   curl -X POST %s/sim/users/%s/pick -d '{"status":"busy"}'
`, sim.ControlURL(), people[0].Extension, sim.ControlURL(), people[0].Extension)
	return err
}

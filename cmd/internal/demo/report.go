package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"presencebridge/bridge"
)

// report is what an unattended run says of itself.
type report struct {
	Members  int     `json:"members"`
	Monitors int     `json:"monitors"`
	Duration float64 `json:"duration_s"`
	Seed     uint64  `json:"seed"`
	Faults   string  `json:"faults"`

	TeamsChanges  int `json:"teams_changes"` // made by people
	PBXChanges    int `json:"pbx_changes"`
	WritesToPBX   int `json:"writes_to_pbx"`
	WritesToTeams int `json:"writes_to_teams"`
	Renewals      int `json:"renewals"`
	Echoes        int `json:"echoes"`
	Reads         int `json:"confirming_reads"`

	// Mapped are the changes by people of which policy makes something else on the other side, LandedWrites the bridge's
	// writes that changed what a side shows, both by what the simulators saw. Renewals, and writes that were sent again or
	// showed nothing, are not among them.
	Mapped        int     `json:"mapped_changes"`
	LandedWrites  int     `json:"landed_writes"`
	WritesPerWish float64 `json:"landed_writes_per_mapped_change"`

	Mismatched int  `json:"mismatched"`
	Stuck      int  `json:"stuck"`
	Lost       int  `json:"lost"`
	Converged  bool `json:"converged"`

	Mismatches []disagreement `json:"mismatches"`
	Losses     []string       `json:"losses"`

	// Latency is the bridge's own share: from the arrival of a notification or of the PBX's event to the write on
	// the other side, for changes that needed no confirming read.
	Latency latencies `json:"latency_ms"`

	SweepInterval    float64 `json:"sweep_interval_s"`
	PolledInterval   float64 `json:"polled_interval_s"`
	SnapshotInterval float64 `json:"snapshot_interval_s"`
}

// quantiles of one path, in milliseconds.
type quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
}

// latencies holds those that needed no confirming read, and apart from them those that did, and those that had to
// wait for a write of ours before.
type latencies struct {
	quantiles
	Confirmed quantiles `json:"confirmed"`
	Held      quantiles `json:"held"`
}

// judge makes the report.
func (s *stage) judge(converged bool) *report {
	r := &report{
		Members: s.cfg.Members, Monitors: s.cfg.Monitors, Duration: s.cfg.Duration.Seconds(), Seed: s.cfg.Seed, Faults: s.cfg.Faults,
		Converged: converged, Mismatches: s.disagreements(), Losses: []string{},
		SweepInterval: sweepInterval.Seconds(), PolledInterval: polledInterval.Seconds(), SnapshotInterval: snapshotInterval.Seconds(),
	}
	members := map[string]bool{}
	for _, d := range r.Mismatches {
		members[d.Member] = true
		switch d.kind {
		case faultStuck:
			r.Stuck++
		case faultLost:
			r.Lost++
		case faultOther:
		}
	}
	if r.Mismatches == nil {
		r.Mismatches = []disagreement{}
	}
	r.Mismatched = len(members)
	c := gather(s.app.Registry())
	s.watch.mu.Lock()
	c = c.plus(s.watch.kept)
	r.TeamsChanges, r.PBXChanges = s.watch.teams, s.watch.phones
	r.Mapped, r.LandedWrites, r.WritesPerWish = s.watch.ratio.mapped, s.watch.ratio.landed, s.watch.ratio.perWish()
	r.Losses = append(r.Losses, s.watch.lost...)
	s.watch.mu.Unlock()
	r.Lost += len(r.Losses)
	r.WritesToPBX, r.WritesToTeams, r.Renewals = int(c.toPBX), int(c.toTeams), int(c.renewals)
	r.Echoes, r.Reads = int(c.echoes), int(c.reads)
	of := func(p bridge.Path) quantiles {
		n, p50, p99 := s.watch.percentiles(p)
		return quantiles{Count: n, P50: p50, P99: p99}
	}
	r.Latency = latencies{quantiles: of(bridge.PathDirect), Confirmed: of(bridge.PathConfirmed), Held: of(bridge.PathHeld)}
	return r
}

func (r *report) write(file string) error {
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	return nil
}

// print says the same to a person.
func (r *report) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, `
%d members on %d monitors, faults %s: people made %d changes in Teams and %d on the PBX.
The bridge wrote %d times to the PBX and %d times to Teams (and renewed %d leases), knew %d echoes, and confirmed %d by reading.
For %d of these changes policy wants something else on the other side; %d writes landed and changed something there: %.2f for each.
Its own share of the latency: p50 %.1f ms, p99 %.1f ms (confirmed first: p50 %.1f ms, p99 %.1f ms).
mismatched %d, stuck %d, lost %d, converged %v
`, r.Members, r.Monitors, r.Faults, r.TeamsChanges, r.PBXChanges, r.WritesToPBX, r.WritesToTeams, r.Renewals, r.Echoes, r.Reads,
		r.Mapped, r.LandedWrites, r.WritesPerWish, r.Latency.P50, r.Latency.P99, r.Latency.Confirmed.P50, r.Latency.Confirmed.P99, r.Mismatched, r.Stuck, r.Lost, r.Converged)
	for i, d := range r.Mismatches {
		if i == 20 || err != nil {
			break
		}
		_, err = fmt.Fprintf(out, "  %s (%s): %s\n", d.Member, d.Side, d.Reason)
	}
	for i, l := range r.Losses {
		if i == 20 || err != nil {
			break
		}
		_, err = fmt.Fprintf(out, "  lost: %s\n", l)
	}
	return err
}

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

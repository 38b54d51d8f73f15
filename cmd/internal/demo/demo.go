// Package demo shows the bridge at work: a simulated tenant, a simulated PBX, and between them the real bridge over
// real HTTP and an embedded bus. Left alone it runs until it is stopped; given a duration it runs unattended, lets
// things settle by the bridge's own means, and judges every member on both sides by what the simulators know.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"presencebridge/graph/graphsim"
)

// Config says what to show.
type Config struct {
	PBX      string // types of the PBXs, with commas between; default micollab
	Members  int
	Monitors int           // 0: as many as the members need
	Duration time.Duration // how long people move; 0: until ctx ends
	Seed     uint64
	Faults   string        // none, some or cruel
	Report   string        // file for the report; "" for none
	Rate     float64       // what each side's people begin in a minute, as a fraction of the members; default 0.25
	Settle   time.Duration // the longest that settling may take; default 5 min
	Admin    string        // address of the admin listener; default a free port
	Out      io.Writer
	Screen   bool   // redraw a screen rather than print lines
	Version  string // shown by the bridge
	LogFile  string // the bridge's own log; "" for a file in the demo's folder
}

// The sweeps of the demo are closer together than in production, so that it settles while one watches. They stand
// in the report.
const (
	sweepInterval    = 10 * time.Second
	polledInterval   = 5 * time.Second
	snapshotInterval = 20 * time.Second
)

// ErrDisagree means that at the end somebody did not agree with policy: the report says who and why.
var ErrDisagree = errors.New("not every member agrees with policy")

func (c Config) withDefaults() (Config, error) {
	if c.Members < 1 {
		return c, fmt.Errorf("--members %d: at least one", c.Members)
	}
	needed := (c.Members + graphsimShard - 1) / graphsimShard
	if c.Monitors == 0 {
		c.Monitors = needed
	}
	if c.Monitors < 0 {
		return c, fmt.Errorf("--monitors %d: not negative", c.Monitors)
	}
	if _, ok := graphsim.Preset(c.Faults); !ok {
		return c, fmt.Errorf("--faults %s: use none, some or cruel", c.Faults)
	}
	if c.PBX == "" {
		c.PBX = "micollab"
	}
	if _, err := parsePBXs(c.PBX); err != nil {
		return c, err
	}
	if c.Rate == 0 {
		c.Rate = 0.25
	}
	if !(c.Rate > 0) || math.IsInf(c.Rate, 0) {
		return c, fmt.Errorf("--rate %v: a fraction of the members, above 0, for example 0.25", c.Rate)
	}
	if c.Report != "" { // a demo of hours is not to end with this
		if _, err := os.Stat(filepath.Dir(c.Report)); err != nil {
			return c, fmt.Errorf("--report %s: its folder cannot be used: %w", c.Report, err)
		}
	}
	if c.Settle == 0 {
		c.Settle = 5 * time.Minute
	}
	if c.Out == nil {
		c.Out = io.Discard
	}
	return c, nil
}

// graphsimShard is how many members one monitor can watch (learn:changenotifications-for-presence).
const graphsimShard = 650

// Run runs the demo and writes the report. ErrDisagree tells that somebody was left wrong.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "presence-bridge-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := newWatcher(cfg)
	s, err := newStage(cfg, dir, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	return s.play(ctx)
}

// play lets people move, then everything settle, and judges.
func (s *stage) play(ctx context.Context) error {
	screen := newScreen(s)
	screenCtx, stopScreen := context.WithCancel(context.WithoutCancel(ctx))
	screenDone := make(chan struct{})
	go func() {
		defer close(screenDone)
		screen.run(screenCtx)
	}()
	end := func() {
		stopScreen()
		<-screenDone
	}
	if err := s.move(ctx); err != nil {
		end()
		return err
	}
	s.watch.phase("settling: people stand still, the bridge catches up by its own means")
	settled := s.settle(context.WithoutCancel(ctx))
	end()
	rep := s.judge(settled)
	if err := rep.write(s.cfg.Report); err != nil {
		return err
	}
	if err := rep.print(s.cfg.Out); err != nil {
		return err
	}
	if rep.Mismatched+rep.Stuck+rep.Lost > 0 || !rep.Converged {
		return ErrDisagree
	}
	return nil
}

// move lets people do things for the duration. With the faults called cruel the bridge is restarted in the middle.
func (s *stage) move(ctx context.Context) error {
	graphFaults, _ := graphsim.Preset(s.cfg.Faults)
	s.graph.SetFaults(graphFaults)
	for _, p := range s.pbxs {
		if err := p.SetFaults(s.cfg.Faults); err != nil {
			return err
		}
	}
	s.watch.phase("people on both sides call, meet, pick statuses and close their laptops")
	s.watch.begin()
	teamsPeople := s.graph.Live(graphsim.PeopleConfig{Seed: s.cfg.Seed, Rate: s.cfg.Rate})
	defer func() {
		teamsPeople.Stop()
		s.graph.SetFaults(graphsim.None())
		for _, p := range s.pbxs {
			_ = p.SetFaults("none") // no faults are always valid
		}
		s.watch.end()
	}()
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for _, p := range s.pbxs {
		stop, err := p.Move(s.cfg.Rate, s.cfg.Seed)
		if err != nil {
			return err
		}
		stops = append(stops, stop)
	}
	if s.cfg.Duration == 0 {
		<-ctx.Done()
		return nil
	}
	half := s.cfg.Duration / 2
	if err := sleep(ctx, half); err != nil {
		return nil //nolint:nilerr // stopped by hand: what happened so far is judged
	}
	if s.cfg.Faults == "cruel" {
		if err := s.restart(ctx); err != nil {
			return fmt.Errorf("restart the bridge: %w", err)
		}
	}
	_ = sleep(ctx, s.cfg.Duration-half) // stopped by hand: what happened so far is judged
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits until both sides stand still and agree, or until that took too long. Nobody asks for a resync.
func (s *stage) settle(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Settle)
	defer cancel()
	const still = 6 * time.Second // longer than the fence and the hold-down, after which a write may follow
	for ctx.Err() == nil {
		if err := sleep(ctx, time.Second); err != nil {
			break
		}
		if time.Since(s.watch.lastChange()) > still && s.pending() == 0 && s.unsettled() == 0 && len(s.disagreements()) == 0 {
			return true
		}
	}
	return false
}

// pending counts what PBXs still have to do or to say.
func (s *stage) pending() int {
	n := 0
	for _, p := range s.pbxs {
		n += p.Pending()
	}
	return n
}

// unsettled counts the members who are not at rest, or of whom Teams has not been seen yet.
func (s *stage) unsettled() int {
	n := 0
	for _, v := range s.app.Engine(accountName).Views("", 0) {
		if !v.Record.Settled() || v.Record.Teams.Shown.IsZero() {
			n++
		}
	}
	return n
}

func logFile(cfg Config, dir string) string {
	if cfg.LogFile != "" {
		return cfg.LogFile
	}
	return filepath.Join(dir, "bridge.log")
}

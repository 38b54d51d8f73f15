package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"presencebridge/bridge"
)

const (
	screenEvery = 500 * time.Millisecond
	linesEvery  = 5 * time.Second
	storyLines  = 16
)

// screen shows what happens, on a terminal as a picture that is redrawn, elsewhere as lines now and then.
type screen struct {
	s       *stage
	started time.Time
}

func newScreen(s *stage) *screen { return &screen{s: s, started: time.Now()} }

func (sc *screen) run(ctx context.Context) {
	every := linesEvery
	if sc.s.cfg.Screen {
		every = screenEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	if !sc.s.cfg.Screen {
		_, _ = fmt.Fprint(sc.s.cfg.Out, sc.inside())
	}
	for {
		var text string
		if sc.s.cfg.Screen {
			text = "\x1b[H\x1b[2J" + sc.picture()
		} else {
			text = sc.line()
		}
		_, _ = fmt.Fprint(sc.s.cfg.Out, text) // a terminal that went away is no reason to stop
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// figures are the counts of both forms.
func (sc *screen) figures() string {
	c := gather(sc.s.app.Registry())
	_, p50, p99 := sc.s.watch.percentiles(bridge.PathDirect)
	sc.s.watch.mu.Lock()
	defer sc.s.watch.mu.Unlock()
	c = c.plus(sc.s.watch.kept)
	return fmt.Sprintf("changes by people: Teams %d, PBX %d   writes: to PBX %.0f, to Teams %.0f   echoes %.0f   own latency p50 %.1f ms, p99 %.1f ms",
		sc.s.watch.teams, sc.s.watch.phones, c.toPBX, c.toTeams, c.echoes, p50, p99)
}

func (sc *screen) line() string {
	return fmt.Sprintf("%6s  %s\n", seconds(time.Since(sc.started)), sc.figures())
}

// inside says how to look into the bridge while it runs.
func (sc *screen) inside() string {
	how := fmt.Sprintf("--url http://%s --token-file %s", sc.s.admin, filepath.Join(sc.s.dir, "data", "admin-token"))
	return "Look inside from another terminal:\n  presence-bridge users list " + how + "\n  presence-bridge users explain user00001@contoso.example " + how +
		"\n  presence-bridge users explain user00001@contoso.example --at " + sc.started.Add(10*time.Second).Format("15:04:05") + " " + how +
		"\n  presence-bridge resync " + how + "\nOr in a browser, with the content of that file: http://" + sc.s.admin + "/\n"
}

func (sc *screen) picture() string {
	var b strings.Builder
	cfg := sc.s.cfg
	fmt.Fprintf(&b, "presence-bridge demo   %d members, %d monitors, faults %s   %s\n", cfg.Members, cfg.Monitors, cfg.Faults, seconds(time.Since(sc.started)))
	b.WriteString(sc.figures() + "\n\n")
	sc.s.watch.mu.Lock()
	b.WriteString(sc.s.watch.now + "\n\n")
	stories := sc.s.watch.stories
	for _, st := range stories[max(0, len(stories)-storyLines):] {
		b.WriteString("  " + st + "\n")
	}
	sc.s.watch.mu.Unlock()
	b.WriteString("\n" + sc.inside())
	b.WriteString("Ctrl-C ends the demo; it then lets things settle and judges every member.\n")
	return b.String()
}

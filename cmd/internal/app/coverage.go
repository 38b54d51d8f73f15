package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
	"presencebridge/monitors"
)

// coverageSum says how everybody is covered, why some are not pushed, and what would change that.
func (a *account) coverageSum() *api.CoverageSum {
	s := a.monitors.Sums()
	out := &api.CoverageSum{
		Members: s.Members, Reasons: []api.CoverageReason{}, MonitorsConfigured: s.MonitorsConfigured, MonitorsUsable: s.MonitorsUsable,
		MonitorsNeeded: s.MonitorsNeeded, Spares: s.Spares, WithOneMore: s.WithOneMore, Stalest: a.monitors.Stalest().Seconds(),
	}
	for _, why := range monitors.Whys() {
		if n := s.ByWhy[why]; n > 0 {
			out.Reasons = append(out.Reasons, api.CoverageReason{Coverage: why.Coverage(), Why: string(why), Members: n, Text: why.Text()})
		}
	}
	out.Text = coverageText(s)
	return out
}

// coverageText is what there is to do about coverage, in a sentence.
func coverageText(s monitors.Sums) string {
	pushed, polled := s.ByCoverage[presence.CoveragePushed], s.ByCoverage[presence.CoveragePolled]
	text := fmt.Sprintf("%d members are pushed, %d polled", pushed, polled)
	switch {
	case s.ByWhy[monitors.WhyNoSubscriptions] > 0:
		return text + ": this cloud has no presence subscriptions"
	case s.WithOneMore > 0:
		return fmt.Sprintf("%s; %d monitors are needed and %d are authorised: one more would have %d more members pushed",
			text, s.MonitorsNeeded, s.MonitorsUsable, s.WithOneMore)
	case s.Spares == 0 && s.MonitorsNeeded > 0:
		return fmt.Sprintf("%s; %d monitors are needed and %d are authorised: one more would be a spare, so that nobody is polled when a list changes or a monitor fails",
			text, s.MonitorsNeeded, s.MonitorsUsable)
	}
	return fmt.Sprintf("%s; %d monitors are needed and %d are authorised, %d of them spare: one more would change nothing",
		text, s.MonitorsNeeded, s.MonitorsUsable, s.Spares)
}

// remadeView is when and why a monitor's subscription was last made anew for its silence; nil if it never was.
func remadeView(r monitors.Remade) *api.Remade {
	if r.At.IsZero() {
		return nil
	}
	text := fmt.Sprintf("the subscription lost %d notifications and was made anew", r.Misses)
	if r.Dead {
		text = "the subscription had died without a word and was made anew"
	}
	return &api.Remade{At: r.At, Misses: r.Misses, Dead: r.Dead, Text: text}
}

// probeTimeout bounds a probe: it waits for Graph, which waits for the bridge.
const probeTimeout = 40 * time.Second

// Probe implements console.Backend.
func (b *backend) Probe(ctx context.Context, account string) (api.Probe, error) {
	r, err := b.askWithin(ctx, probeTimeout, account, command{Op: "probe"})
	if err != nil || r.Probe == nil {
		return api.Probe{}, err
	}
	return *r.Probe, nil
}

// probe has Graph reach the bridge.
func (a *account) probe(ctx context.Context) reply {
	p, err := a.monitors.Probe(ctx)
	out := &api.Probe{State: api.ProbeReached, UPN: p.UPN, TookMS: p.Took.Milliseconds()}
	var e *monitors.CallError
	switch {
	case errors.Is(err, monitors.ErrNoneFree):
		out.State, out.Code, out.Text = api.ProbeNotTested, "none_free", "every monitor that is signed in carries a subscription: add a spare one to have this tested"
	case errors.Is(err, monitors.ErrProbing):
		out.State, out.Code, out.Text = api.ProbeNotTested, "probing", "another probe is under way: try again in a minute"
	case err != nil:
		out.State, out.Text = api.ProbeNotTested, err.Error()
	case errors.As(p.Err, &e) && e.Kind == monitors.Refused:
		out.State, out.Code, out.Text = api.ProbeFailed, e.Code, e.Text
	case errors.As(p.Err, &e):
		out.State, out.Code, out.Text = api.ProbeNotTested, e.Kind.String(), "Graph made no subscription: "+e.Text
	default:
		out.Text = fmt.Sprintf("Graph validated both URLs within %d ms, for a subscription of %s that was deleted again", out.TookMS, p.UPN)
	}
	return reply{Probe: out}
}

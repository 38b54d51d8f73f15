package app

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/directory"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/policy"
	"presencebridge/bridge/presence"
	"presencebridge/cmd/internal/roster"
	"presencebridge/monitors"
)

// directoryLoop keeps the list of members: whenever the tenant's users or a PBX's users were listed, it matches
// them anew and tells the engine and the monitors.
type directoryLoop struct {
	a      *account
	keeper *directory.Keeper
	wake   chan struct{}
	have   atomic.Bool

	mu     sync.Mutex
	phones map[string][]pbx.User
	people []directory.Person             // without a counterpart
	exts   map[presence.EndpointID]string // extensions, for people to read
	result *matched                       // the last one; nil before
	report *directory.Report              // of it; nil until somebody asks

	roster    *roster.Roster // owned by run, as all below
	policy    *policy.Policy
	optOuts   []string // groups that must be known before anybody is bridged
	last      []directory.Member
	overrides []directory.Override // that were read last
	complaint string               // about the overrides, said once
}

// matched is a result with what it was made of.
type matched struct {
	users    []directory.User
	res      directory.Result
	problems []directory.Problem
}

func newDirectoryLoop(a *account, keeper *directory.Keeper, pol *policy.Policy) *directoryLoop {
	d := &directoryLoop{
		a: a, keeper: keeper, wake: make(chan struct{}, 1), phones: map[string][]pbx.User{}, exts: map[presence.EndpointID]string{},
		roster: roster.New(roster.Config{Graph: a.graph, Groups: pol.GroupNames(), Log: a.log}),
		policy: pol,
	}
	for i := range pol.Groups {
		if pol.Groups[i].OptOut != 0 {
			d.optOuts = append(d.optOuts, pol.Groups[i].Group)
		}
	}
	return d
}

func (d *directoryLoop) known() bool { return d.have.Load() }

// onSnapshot takes a PBX's list of users.
func (a *account) onSnapshot(name string, users []pbx.User) {
	d := a.dir
	d.mu.Lock()
	if len(users) == 0 && len(d.phones[name]) > 0 {
		d.mu.Unlock()
		a.log.Warn("the pbx lists no users any more; the ones from before are kept, since that is more likely its mistake", "pbx", name)
		return
	}
	d.phones[name] = users
	for _, u := range users {
		d.exts[presence.EndpointID{PBX: name, User: u.ID}] = u.Extension
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run loads the last known members, then keeps them up to date.
func (d *directoryLoop) run(ctx context.Context) error {
	if err := d.load(ctx); err != nil {
		d.a.log.Warn("the stored list of members could not be read", "error", err)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		changed := true
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.wake:
		case <-timer.C:
			next := d.interval()
			var err error
			if changed, err = d.roster.Refresh(ctx); err != nil {
				failures++
				next = min(time.Second<<min(failures, 6), next)
				d.a.log.Warn("the tenant's users could not be listed, trying again", "retry_in", next, "error", err)
			} else {
				failures = 0
			}
			timer.Reset(next)
			changed = d.readOverrides() || changed
		}
		if changed && d.roster.Len() > 0 && d.optOutsKnown() {
			d.match(ctx)
		}
	}
}

// interval is how often Entra is asked.
func (d *directoryLoop) interval() time.Duration {
	if i := d.a.app.opts.DirectoryInterval; i > 0 {
		return i
	}
	return d.a.cfg.Directory.Interval
}

// optOutsKnown tells whether everybody who opted out by a group can be known: nobody is bridged before. Whoever was in such
// a group when the list was last stored stays in it until the group has been read.
func (d *directoryLoop) optOutsKnown() bool {
	for _, name := range d.roster.Unread() {
		stored := slices.ContainsFunc(d.last, func(m directory.Member) bool { return slices.Contains(m.Groups, name) })
		if slices.Contains(d.optOuts, name) && !stored {
			d.a.log.Error("nobody is bridged until it is known who is in the group that opted out", "group", name,
				"remedy", "grant GroupMember.Read.All, or correct the group in the policy")
			return false
		}
	}
	return true
}

// load begins with what was known before the restart.
func (d *directoryLoop) load(ctx context.Context) error {
	d.readOverrides()
	k, err := d.keeper.Load(ctx)
	if err != nil {
		return err
	}
	if len(k.Members) == 0 {
		return nil
	}
	d.roster.Seed(k.Users)
	d.last = k.Members
	d.apply(ctx, k.Members, k.People)
	return nil
}

// readOverrides reads the file of overrides again. What cannot be read leaves those from before in force.
func (d *directoryLoop) readOverrides() (changed bool) {
	list, err := d.a.cfg.Overrides()
	if err != nil {
		if d.complaint != err.Error() {
			d.a.log.Error("the overrides cannot be read, those from before stay in force", "file", d.a.cfg.Directory.OverridesFile, "error", err)
		}
		d.complaint = err.Error()
		return false
	}
	changed = !slices.Equal(list, d.overrides)
	d.overrides, d.complaint = list, ""
	return changed
}

// match works out who is who, keeps it, and tells everybody.
func (d *directoryLoop) match(ctx context.Context) {
	d.mu.Lock()
	phones := maps.Clone(d.phones)
	d.mu.Unlock()
	opts := d.options(phones)
	users := d.roster.Users()
	res := directory.Match(users, phones, opts)
	if n := len(res.UnusedExclusions); n > 0 {
		d.a.log.Warn("exclude names people whom the tenant does not have", "entries", n)
	}
	if n := len(res.UnusedOverrides); n > 0 {
		d.a.log.Warn("the overrides speak of endpoints that no pbx lists", "entries", n)
	}
	d.mu.Lock()
	d.result, d.report = &matched{users: users, res: res, problems: d.problems()}, nil
	d.mu.Unlock()
	if err := d.keeper.Save(ctx, users, res); err != nil && ctx.Err() == nil {
		d.a.log.Warn("the list of members was not stored, the next listing tries again", "error", err)
	}
	d.last = res.Members
	d.apply(ctx, res.Members, res.People)
}

func (d *directoryLoop) options(phones map[string][]pbx.User) directory.Options {
	cfg := d.a.cfg
	opts := directory.Options{
		Rules: cfg.Directory.Rules(), Overrides: d.overrides, Region: cfg.Directory.Region, Prefixes: cfg.Prefixes(),
		Exclude: cfg.ExcludedUPNs(), SeveralPerPBX: true, Last: d.last, Groups: d.roster.Groups(),
	}
	for i := range cfg.PBX {
		if _, ok := phones[cfg.PBX[i].Name]; !ok {
			opts.Unread = append(opts.Unread, cfg.PBX[i].Name)
		}
	}
	if unread := d.roster.Unread(); len(unread) > 0 {
		for i := range d.last { // as it was stored
			for _, g := range d.last[i].Groups {
				if slices.Contains(unread, g) {
					opts.Groups[d.last[i].ID] = append(opts.Groups[d.last[i].ID], g)
				}
			}
		}
	}
	return opts
}

func (d *directoryLoop) problems() []directory.Problem {
	var out []directory.Problem
	for _, p := range d.roster.Problems() {
		out = append(out, directory.Problem{Text: "group " + p.Group + ": " + p.Text, Remedy: p.Remedy})
	}
	if d.complaint != "" {
		out = append(out, directory.Problem{Text: "the overrides cannot be read, those from before stay in force: " + d.complaint, Remedy: "correct the file"})
	}
	return out
}

// whoIsWho is the report of the last result.
func (d *directoryLoop) whoIsWho() (*directory.Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.result == nil {
		return nil, fail("unavailable", "people and PBX users have not been brought together yet since the start: the tenant's users are being listed; try again in a moment")
	}
	if d.report == nil {
		d.report = directory.NewReport(d.result.users, d.result.res, d.result.problems...)
	}
	return d.report, nil
}

// apply tells the engine and the monitors who the members are.
func (d *directoryLoop) apply(ctx context.Context, ms []directory.Member, people []directory.Person) {
	d.mu.Lock()
	d.people = people
	d.mu.Unlock()
	members := make([]bridge.Member, 0, len(ms))
	watched := make([]monitors.Member, 0, len(ms)+len(people))
	for i := range ms {
		m := &ms[i]
		members = append(members, bridge.Member{
			ID: m.ID, UPN: m.UPN, Mail: m.Mail, Name: m.Name, Endpoints: m.Endpoints, Excluded: m.Excluded,
			Groups: m.Groups, OptOut: d.a.cfg.OptOut(m.UPN, m.Mail),
		})
		w := monitors.Member{ID: m.ID, Matched: len(m.Endpoints) > 0, Excluded: m.Excluded, Reason: m.Reason.Text()}
		if optOut := d.a.cfg.OptOut(m.UPN, m.Mail); !w.Excluded && d.policy.For(m.Groups, optOut).OptOut == presence.BothDirections {
			w.Excluded, w.Reason = true, "opted out by a group of the policy"
		}
		watched = append(watched, w)
	}
	for i := range people {
		watched = append(watched, monitors.Member{ID: people[i].ID, Reason: people[i].Reason.Text()})
	}
	d.a.engine.SetMembers(ctx, members)
	d.a.monitors.SetMembers(watched)
	d.have.Store(true)
}

// unmatched lists the people without a counterpart, by id.
func (d *directoryLoop) unmatched() []directory.Person {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.people)
	slices.SortFunc(out, func(a, b directory.Person) int { return strings.Compare(a.ID, b.ID) })
	return out
}

func (d *directoryLoop) extension(id presence.EndpointID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.exts[id]
}

package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"presencebridge/bridge"
	"presencebridge/bridge/directory"
	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
	"presencebridge/graph"
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

	users []directory.User // owned by run
	last  []directory.Member
}

func newDirectoryLoop(a *account, keeper *directory.Keeper) *directoryLoop {
	return &directoryLoop{
		a: a, keeper: keeper, wake: make(chan struct{}, 1), phones: map[string][]pbx.User{},
		exts: map[presence.EndpointID]string{},
	}
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
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.wake:
		case <-timer.C:
			next := d.a.app.opts.DirectoryInterval
			if err := d.listUsers(ctx); err != nil {
				failures++
				next = min(time.Second<<min(failures, 6), next)
				d.a.log.Warn("the tenant's users could not be listed, trying again", "retry_in", next, "error", err)
			} else {
				failures = 0
			}
			timer.Reset(next)
		}
		if len(d.users) > 0 {
			d.match(ctx)
		}
	}
}

// load begins with what was known before the restart.
func (d *directoryLoop) load(ctx context.Context) error {
	k, err := d.keeper.Load(ctx)
	if err != nil {
		return err
	}
	if len(k.Members) == 0 {
		return nil
	}
	d.users, d.last = k.Users, k.Members
	d.apply(ctx, k.Members, k.People)
	return nil
}

func (d *directoryLoop) listUsers(ctx context.Context) error {
	var users []directory.User
	err := d.a.graph.Users(ctx, func(u graph.User) error {
		users = append(users, directory.User{
			ID: strings.ToLower(u.ID), UPN: u.UPN, Mail: u.Mail, Name: u.DisplayName, Enabled: u.Enabled, UserType: u.UserType,
		})
		return nil
	})
	if err != nil {
		return err
	}
	if len(users) == 0 {
		return errors.New("the tenant lists no users at all; the application needs User.Read.All")
	}
	d.users = users
	return nil
}

// match works out who is who, keeps it, and tells everybody.
func (d *directoryLoop) match(ctx context.Context) {
	d.mu.Lock()
	phones := maps.Clone(d.phones)
	d.mu.Unlock()
	opts := directory.Options{Exclude: d.a.cfg.ExcludedUPNs(), Last: d.last, SeveralPerPBX: true}
	for i := range d.a.cfg.PBX {
		if _, ok := phones[d.a.cfg.PBX[i].Name]; !ok {
			opts.Unread = append(opts.Unread, d.a.cfg.PBX[i].Name)
		}
	}
	res := directory.Match(d.users, phones, opts)
	for _, x := range res.UnusedExclusions {
		d.a.log.Warn("exclude names nobody of this tenant", "entries", len(res.UnusedExclusions))
		d.a.log.Debug("exclude names nobody", "entry", x)
	}
	if err := d.keeper.Save(ctx, d.users, res); err != nil && ctx.Err() == nil {
		d.a.log.Warn("the list of members was not stored, the next listing tries again", "error", err)
	}
	d.last = res.Members
	d.apply(ctx, res.Members, res.People)
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
			OptOut: d.a.cfg.OptOut(m.UPN, m.Mail),
		})
		watched = append(watched, monitors.Member{
			ID: m.ID, Matched: len(m.Endpoints) > 0, Excluded: m.Excluded, Reason: m.Reason.Text(),
		})
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

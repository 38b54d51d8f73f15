// Package roster keeps the list of a tenant's people up to date: everybody at the start and once a day, in
// between what Graph says has changed. It also knows who is in the groups that the account's policy names.
package roster

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"presencebridge/bridge/directory"
	"presencebridge/graph"
)

// Graph is what is needed of the client of Graph; [graph.Client] has it.
type Graph interface {
	Users(ctx context.Context, each func(graph.User) error) error
	UserChanges(ctx context.Context, link string, each func(graph.UserChange) error) (string, error)
	FindGroups(ctx context.Context, name string) ([]graph.Group, error)
	GroupMembers(ctx context.Context, id string, each func(userID string) error) error
}

// Config is what a [Roster] is made from.
type Config struct {
	// Graph is the account's client. Required.
	Graph Graph
	// Groups are the groups whose members have to be known, by object id or display name.
	Groups []string
	// Full is how often everybody is listed although Graph tells what changes. Default 24 h.
	Full time.Duration
	// Log receives what is odd about Graph's answers. Default: discard.
	Log *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Roster is the list. Its methods must not be called concurrently.
type Roster struct {
	cfg    Config
	users  map[string]directory.User // by object id; nil: never listed
	link   string                    // what changed is asked for with it; empty: Graph does not tell
	listed time.Time
	groups map[string]*group // by the name in Config.Groups
}

// group is one group that policy names.
type group struct {
	members map[string]bool // by object id; nil: never read
	problem Problem
}

// Problem says why the members of a group are not known, or not as they should be.
type Problem struct {
	Group  string
	Text   string
	Remedy string
}

// New makes a Roster. It asks nothing yet.
func New(cfg Config) *Roster {
	if cfg.Full <= 0 {
		cfg.Full = 24 * time.Hour
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Roster{cfg: cfg, groups: map[string]*group{}}
}

// errNobody is a listing without anybody: more likely a permission that is missing than an empty tenant.
var errNobody = errors.New("the tenant lists no users at all; the application needs User.Read.All")

// Refresh brings the list up to date; changed tells whether it may differ from before. After an error
// the list is as it was.
func (r *Roster) Refresh(ctx context.Context) (changed bool, err error) {
	groups := r.refreshGroups(ctx)
	users, err := r.refreshUsers(ctx)
	return groups || users, err
}

func (r *Roster) refreshUsers(ctx context.Context) (bool, error) {
	if r.users == nil || r.link == "" || r.cfg.Now().Sub(r.listed) >= r.cfg.Full {
		return true, r.list(ctx)
	}
	changed, err := r.update(ctx)
	switch {
	case err == nil:
		return changed, nil
	case graph.IsKind(err, graph.Gone), graph.IsKind(err, graph.Refused), errors.Is(err, errStranger):
		r.cfg.Log.Info("graph no longer tells what changed about the users, all are listed", "error", err)
		return true, r.list(ctx)
	default:
		return false, err
	}
}

// list lists everybody. The link comes first, so that what changes during the listing is told afterwards.
func (r *Roster) list(ctx context.Context) error {
	link, err := r.cfg.Graph.UserChanges(ctx, "", func(graph.UserChange) error { return nil })
	if err != nil {
		r.cfg.Log.Debug("graph does not tell what changes about the users, all are listed each time", "error", err)
	}
	users := make(map[string]directory.User, len(r.users))
	err = r.cfg.Graph.Users(ctx, func(u graph.User) error {
		d := fromGraph(&u)
		users[d.ID] = d
		return nil
	})
	if err != nil {
		return err
	}
	if len(users) == 0 {
		return errNobody
	}
	r.users, r.link, r.listed = users, link, r.cfg.Now()
	return nil
}

// errStranger is a change about somebody who is not known, without saying who it is.
var errStranger = errors.New("a change is about a user who was not listed")

func (r *Roster) update(ctx context.Context) (bool, error) {
	changed := map[string]*directory.User{} // nil: removed
	next, err := r.cfg.Graph.UserChanges(ctx, r.link, func(ch graph.UserChange) error {
		id := strings.ToLower(ch.ID)
		if ch.Removed {
			changed[id] = nil
			return nil
		}
		u := graph.User{Enabled: true}
		if d := changed[id]; d != nil {
			u = toGraph(d)
		} else if d, known := r.users[id]; known {
			u = toGraph(&d)
		} else if !ch.Complete {
			return errStranger
		}
		ch.Onto(&u)
		d := fromGraph(&u)
		changed[id] = &d
		return nil
	})
	if err != nil {
		return false, err
	}
	r.link = next
	differs := false
	for id, d := range changed {
		was, known := r.users[id]
		switch {
		case d == nil && known:
			delete(r.users, id)
			differs = true
		case d != nil && (!known || !same(&was, d)):
			r.users[id] = *d
			differs = true
		}
	}
	return differs, nil
}

func same(a, b *directory.User) bool {
	return a.UPN == b.UPN && a.Mail == b.Mail && a.Name == b.Name && a.Enabled == b.Enabled && a.UserType == b.UserType && a.Mobile == b.Mobile &&
		a.Extension == b.Extension && slices.Equal(a.Proxies, b.Proxies) && slices.Equal(a.Phones, b.Phones)
}

// smtp begins the mail addresses among proxyAddresses; others are no mail addresses.
const smtp = "smtp:"

func fromGraph(u *graph.User) directory.User {
	d := directory.User{
		ID: strings.ToLower(u.ID), UPN: u.UPN, Mail: u.Mail, Name: u.DisplayName, Enabled: u.Enabled, UserType: u.UserType,
		Phones: u.BusinessPhones, Mobile: u.MobilePhone, Extension: u.Attribute,
	}
	for _, a := range u.ProxyAddresses {
		if len(a) > len(smtp) && strings.EqualFold(a[:len(smtp)], smtp) {
			d.Proxies = append(d.Proxies, a[len(smtp):])
		}
	}
	return d
}

func toGraph(d *directory.User) graph.User {
	u := graph.User{
		ID: d.ID, UPN: d.UPN, Mail: d.Mail, DisplayName: d.Name, Enabled: d.Enabled, UserType: d.UserType,
		BusinessPhones: d.Phones, MobilePhone: d.Mobile, Attribute: d.Extension,
	}
	for _, a := range d.Proxies {
		u.ProxyAddresses = append(u.ProxyAddresses, smtp+a)
	}
	return u
}

// Seed is the last known list, until one has been read.
func (r *Roster) Seed(users []directory.User) {
	if r.users != nil {
		return
	}
	r.users = make(map[string]directory.User, len(users))
	for _, u := range users {
		r.users[u.ID] = u
	}
}

// Users are all people, in no order. The list is the caller's.
func (r *Roster) Users() []directory.User { return slices.Collect(maps.Values(r.users)) }

// Len is how many people there are.
func (r *Roster) Len() int { return len(r.users) }

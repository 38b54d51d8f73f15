package roster

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"presencebridge/graph"
)

// refreshGroups reads who is in the groups. One that cannot be read keeps its members from before.
func (r *Roster) refreshGroups(ctx context.Context) (changed bool) {
	for _, name := range r.cfg.Groups {
		was := r.groups[name]
		if was == nil {
			was = &group{}
		}
		now := r.readGroup(ctx, name)
		if now.members == nil {
			now.members = was.members
		}
		if now.problem != was.problem && now.problem != (Problem{}) {
			r.cfg.Log.Warn("the members of a group that policy names are not known", "group", name, "problem", now.problem.Text, "remedy", now.problem.Remedy)
		}
		if (was.members == nil) != (now.members == nil) || !maps.Equal(was.members, now.members) {
			changed = true
		}
		r.groups[name] = now
	}
	return changed
}

func (r *Roster) readGroup(ctx context.Context, name string) *group {
	g := &group{}
	problem := func(remedy, format string, args ...any) *group {
		g.problem = Problem{Group: name, Text: fmt.Sprintf(format, args...), Remedy: remedy}
		return g
	}
	const permission = "grant the application permission GroupMember.Read.All, and admin consent for it"
	found, err := r.cfg.Graph.FindGroups(ctx, name)
	switch {
	case graph.IsKind(err, graph.ConsentMissing):
		return problem(permission, "the application may not read groups")
	case err != nil:
		return problem("it is tried again by itself", "the group cannot be looked up: %v", err)
	case len(found) > 1:
		return problem("name it by its object id in the policy", "%d groups have this name", len(found))
	case len(found) == 0:
		g.members = map[string]bool{}
		return problem("correct the name in the policy, or remove it", "the tenant has no such group: nobody is in it")
	}
	members := map[string]bool{}
	err = r.cfg.Graph.GroupMembers(ctx, found[0].ID, func(id string) error { members[id] = true; return nil })
	switch {
	case graph.IsKind(err, graph.ConsentMissing):
		return problem(permission, "the application may not read the members of groups")
	case err != nil:
		return problem("it is tried again by itself", "the members cannot be read: %v", err)
	}
	g.members = members
	return g
}

// Groups tells for each person, by object id, which of the groups they are in, in the order of the configuration.
func (r *Roster) Groups() map[string][]string {
	out := map[string][]string{}
	for _, name := range r.cfg.Groups {
		if g := r.groups[name]; g != nil {
			for id := range g.members {
				out[id] = append(out[id], name)
			}
		}
	}
	return out
}

// Unread lists the groups whose members were never read.
func (r *Roster) Unread() []string {
	return slices.DeleteFunc(slices.Clone(r.cfg.Groups), func(name string) bool {
		g := r.groups[name]
		return g != nil && g.members != nil
	})
}

// Problems lists what is wrong with groups, in the order of the configuration.
func (r *Roster) Problems() []Problem {
	var out []Problem
	for _, name := range r.cfg.Groups {
		if g := r.groups[name]; g != nil && g.problem != (Problem{}) {
			out = append(out, g.problem)
		}
	}
	return out
}

package graphsim

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// groups are the tenant's groups; a group may hold groups.
type groups struct {
	mu   sync.Mutex
	byID map[string]*group // guarded by mu
}

type group struct {
	id, name string
	members  []string // ids of users and of groups
}

// SetGroup makes a group or replaces its members, which are users (by id or UPN) and groups (by id). The id
// is an object id; an empty one is drawn. It returns the id.
func (s *Sim) SetGroup(id, name string, members ...string) (string, error) {
	if id == "" {
		id = s.draw.guid()
	}
	if name == "" {
		return "", errors.New("graphsim: a group needs a name")
	}
	g := &group{id: strings.ToLower(id), name: name}
	for _, m := range members {
		if p, found := s.State(m); found {
			m = p.ID
		} else if s.groups.find(m) == nil {
			return "", fmt.Errorf("graphsim: no user and no group %q in this tenant: give an object id or a UPN", m)
		}
		g.members = append(g.members, strings.ToLower(m))
	}
	s.groups.mu.Lock()
	defer s.groups.mu.Unlock()
	if s.groups.byID == nil {
		s.groups.byID = map[string]*group{}
	}
	s.groups.byID[g.id] = g
	return g.id, nil
}

// RemoveGroup deletes a group.
func (s *Sim) RemoveGroup(id string) {
	s.groups.mu.Lock()
	defer s.groups.mu.Unlock()
	delete(s.groups.byID, strings.ToLower(id))
}

func (gs *groups) find(id string) *group {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.byID[strings.ToLower(id)]
}

// within are the ids of all members, also of groups within the group, which may hold each other.
func (gs *groups) within(id string) []string {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	seen := map[string]bool{}
	var walk func(id string)
	walk = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		if g := gs.byID[id]; g != nil {
			for _, m := range g.members {
				walk(m)
			}
		}
	}
	walk(strings.ToLower(id))
	var out []string
	for m := range seen {
		if gs.byID[m] == nil {
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return out
}

func (s *Sim) groupRoutes(mux *http.ServeMux) {
	read := func(name string, serve func(c *call) (reply, effect)) http.HandlerFunc {
		return s.graph(operation{name: name, class: classDirectory, serve: serve, application: []string{"GroupMember.Read.All", "Group.Read.All", "Directory.Read.All"}})
	}
	mux.HandleFunc("GET /v1.0/groups", read("listGroups", (*call).listGroups))
	mux.HandleFunc("GET /v1.0/groups/{id}", read("getGroup", (*call).getGroup))
	mux.HandleFunc("GET /v1.0/groups/{id}/transitiveMembers/microsoft.graph.user", read("listGroupMembers", (*call).listGroupMembers))
}

func (g *group) show() map[string]any { return map[string]any{"id": g.id, "displayName": g.name} }

func (c *call) listGroups() (reply, effect) {
	filter := c.r.URL.Query().Get("$filter")
	name, filtered := strings.CutPrefix(filter, "displayName eq '")
	if filter != "" && (!filtered || !strings.HasSuffix(name, "'")) {
		return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified."), nil
	}
	name = strings.ReplaceAll(strings.TrimSuffix(name, "'"), "''", "'")
	value := []map[string]any{}
	gs := &c.sim.groups
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for _, g := range gs.byID {
		if filter == "" || strings.EqualFold(g.name, name) {
			value = append(value, g.show())
		}
	}
	return reply{status: http.StatusOK, body: map[string]any{"value": value}}, nil
}

func (c *call) getGroup() (reply, effect) {
	g := c.sim.groups.find(c.r.PathValue("id"))
	if g == nil {
		return refuse(http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+c.r.PathValue("id")+"' does not exist."), nil
	}
	return reply{status: http.StatusOK, body: g.show()}, nil
}

// listGroupMembers takes the cast only as an advanced query, on every page (learn:graph/aad-advanced-queries).
func (c *call) listGroupMembers() (reply, effect) {
	q, id := c.r.URL.Query(), c.r.PathValue("id")
	if q.Get("$count") != "true" || c.r.Header.Get("ConsistencyLevel") != "eventual" {
		return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported Query."), nil
	}
	if c.sim.groups.find(id) == nil {
		return refuse(http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+id+"' does not exist."), nil
	}
	top := usualPage
	if raw := q.Get("$top"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxPage {
			return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "Invalid page size specified."), nil
		}
		top = n
	}
	all := c.sim.groups.within(id)
	at, found := slices.BinarySearch(all, q.Get("$skiptoken"))
	if found {
		at++
	}
	rest := all[at:]
	value := []map[string]any{}
	for _, m := range rest[:min(top, len(rest))] {
		value = append(value, map[string]any{"id": m})
	}
	out := map[string]any{"@odata.count": len(all), "value": value}
	if len(rest) > top {
		q.Set("$skiptoken", rest[top-1])
		q.Del("$count") // Graph's own link leaves it out
		out["@odata.nextLink"] = c.sim.base + c.r.URL.EscapedPath() + "?" + q.Encode()
	}
	return reply{status: http.StatusOK, body: out}, nil
}

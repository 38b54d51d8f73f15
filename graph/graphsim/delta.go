package graphsim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"sort"
	"strings"
)

// edits are the directory's changes, as GET /users/delta tells them. Guarded by world.mu.
type edits struct {
	last   uint64 // number of the newest
	oldest uint64 // links from before are too old
	tombs  []tomb // ascending
}

// tomb is a user who was deleted.
type tomb struct {
	id string
	at uint64
}

// wholly stands for all properties: the user is new.
const wholly = ""

func (e *edits) born(p *person) {
	e.last++
	p.edited = map[string]uint64{wholly: e.last}
}

func (e *edits) gone(id string) {
	e.last++
	e.tombs = append(e.tombs, tomb{id, e.last})
}

// edit notes which properties a person's new entry changes.
func (e *edits) edit(p *person, now Person) {
	old := person{Person: p.Person}
	changed := person{Person: now}
	for _, name := range append(slices.Clone(userProperties), "accountEnabled", "userType", "proxyAddresses", "onPremisesExtensionAttributes", "employeeId") {
		if !reflect.DeepEqual(old.property(name), changed.property(name)) {
			e.last++
			p.edited[name] = e.last
		}
	}
}

// deltaToken is what a link carries. A link is opaque to clients.
type deltaToken struct {
	Select string `json:"select"`
	Since  uint64 `json:"since"` // changes from this one on: the last one that was told is told again
	Until  uint64 `json:"until"` // of a next link: where the round ends
	After  string `json:"after"` // of a next link: the id that was told last
	Full   bool   `json:"full"`  // everybody, not only changes
}

func (t deltaToken) String() string {
	raw, err := json.Marshal(t)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// deltaPage is how many users a page of changes holds; the client has no say in it.
const deltaPage = 200

// listUserChanges is GET /users/delta (learn:api/user-delta): only changed properties, tombstones, replays.
func (c *call) listUserChanges() (reply, effect) {
	q := c.r.URL.Query()
	for _, name := range []string{"$top", "$expand", "$orderby", "$skip", "$count"} {
		if q.Has(name) {
			return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "'"+name+"' is not supported for this resource."), nil
		}
	}
	w := c.sim.world
	w.mu.Lock()
	defer w.mu.Unlock()
	t := deltaToken{Select: q.Get("$select"), Full: true, Until: w.edits.last}
	raw := q.Get("$deltatoken") + q.Get("$skiptoken")
	switch {
	case raw == "latest":
		return c.deltaReply(nil, "$deltatoken", deltaToken{Select: t.Select, Since: w.edits.last}), nil
	case raw != "":
		data, err := base64.RawURLEncoding.DecodeString(raw)
		if err != nil || json.Unmarshal(data, &t) != nil {
			return refuse(http.StatusBadRequest, "Directory_InvalidToken", "The token is not valid."), nil
		}
		if q.Has("$deltatoken") {
			t.Full, t.Until, t.After = false, w.edits.last, ""
		}
	}
	if t.Since < w.edits.oldest && !t.Full {
		gone := refuse(http.StatusGone, "syncStateNotFound", "The sync state generation is not found; a full synchronisation is required.")
		gone.header = http.Header{"Location": {c.sim.base + "/v1.0/users/delta?$select=" + t.Select}}
		return gone, nil
	}
	value, last := w.deltaPage(t)
	if last != "" {
		t.After = last
		return c.deltaReply(value, "$skiptoken", t), nil
	}
	return c.deltaReply(value, "$deltatoken", deltaToken{Select: t.Select, Since: t.Until}), nil
}

func (c *call) deltaReply(value []map[string]any, link string, t deltaToken) reply {
	if value == nil {
		value = []map[string]any{}
	}
	name := map[string]string{"$skiptoken": "@odata.nextLink", "$deltatoken": "@odata.deltaLink"}[link]
	return reply{status: http.StatusOK, body: map[string]any{
		"@odata.context": c.sim.base + "/v1.0/$metadata#users", "value": value, name: c.sim.base + "/v1.0/users/delta?" + link + "=" + t.String(),
	}}
}

// deltaPage is a page of changed users in the order of their ids, tombstones first of all. Under mu.
func (w *world) deltaPage(t deltaToken) (value []map[string]any, last string) {
	names := userProperties
	if t.Select != "" {
		names = strings.Split(t.Select, ",")
	}
	if t.After == "" && !t.Full {
		for _, x := range w.edits.tombs {
			if x.at >= t.Since && w.byID[x.id] == nil {
				value = append(value, map[string]any{"id": x.id, "@removed": map[string]string{"reason": "changed"}})
			}
		}
	}
	at := sort.Search(len(w.list), func(i int) bool { return w.list[i].ID > t.After })
	n := 0
	for _, p := range w.list[at:] {
		show := p.delta(names, t)
		if show == nil {
			continue
		}
		if n == deltaPage {
			return value, last
		}
		value, last = append(value, show), p.ID
		n++
	}
	return value, ""
}

// delta is what changed about a person, nil if nothing did. New people are told in full.
func (p *person) delta(names []string, t deltaToken) map[string]any {
	out := map[string]any{"id": p.ID}
	for _, name := range names {
		if t.Full || p.edited[wholly] >= t.Since || (p.edited[name] >= t.Since && p.edited[name] > 0) {
			out[name] = p.property(name)
		}
	}
	if len(out) == 1 && !t.Full {
		return nil
	}
	return out
}

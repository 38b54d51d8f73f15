package threecxsim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// xapi serves everything about users. The mutex is held.
func (s *Sim) xapi(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/xapi/v1/")
	key, rest, one := odataKey(path, "Users")
	switch {
	case path == "Users" && r.Method == http.MethodGet:
		s.listUsers(w, r.URL.Query())
	case !one:
		refuse(w, http.StatusNotFound, "no such resource")
	default:
		s.oneUser(w, r, key, rest)
	}
}

func (s *Sim) oneUser(w http.ResponseWriter, r *http.Request, key, rest string) {
	p := s.byKey(key)
	switch {
	case p == nil:
		refuse(w, http.StatusNotFound, "not found")
	case rest == "" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, s.userJSON(p, r.URL.Query()))
	case rest == "" && r.Method == http.MethodPatch:
		s.patch(w, r, p)
	case rest == "/ForwardingProfiles" && r.Method == http.MethodGet:
		answer(w, http.StatusOK, map[string]any{"value": p.profiles})
	default:
		refuse(w, http.StatusMethodNotAllowed, "not here")
	}
}

// byKey finds a user by what stands in the brackets: 12 or Number='101'.
func (s *Sim) byKey(key string) *person {
	if id, err := strconv.Atoi(key); err == nil {
		return s.users[id]
	}
	number, ok := strings.CutPrefix(key, "Number='")
	if !ok {
		return nil
	}
	for _, p := range s.users {
		if p.Number+"'" == number {
			return p
		}
	}
	return nil
}

func (s *Sim) listUsers(w http.ResponseWriter, q url.Values) {
	top, skip := s.cfg.PageLimit, 0
	for name, into := range map[string]*int{"$top": &top, "$skip": &skip} {
		if v := q.Get(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				refuse(w, http.StatusBadRequest, name+" is not a number")
				return
			}
			*into = n
		}
	}
	if skip == 0 {
		s.stats.Listings++
	}
	all := s.sorted()
	top, skip = min(top, s.cfg.PageLimit), min(skip, len(all))
	page := make([]map[string]any, 0, top)
	for _, p := range all[skip:min(skip+top, len(all))] {
		page = append(page, s.userJSON(p, q))
	}
	out := map[string]any{"@odata.context": s.server.URL() + "/xapi/v1/$metadata#Users", "value": page}
	if q.Get("$count") == "true" {
		out["@odata.count"] = len(all)
	}
	answer(w, http.StatusOK, out)
}

// userJSON is a user as asked for by $select and $expand.
func (s *Sim) userJSON(p *person, q url.Values) map[string]any {
	shown, profiles := p.presence(), p.profiles
	if time.Now().Before(p.lagUntil) {
		shown.Status = p.lagged.Status
	}
	first, last, _ := strings.Cut(p.DisplayName, " ")
	all := map[string]any{
		"Id": p.ID, "Number": p.Number, "DisplayName": p.DisplayName, "FirstName": first, "LastName": last, "EmailAddress": p.Email,
		"CurrentProfileName": shown.Status, "QueueStatus": "LoggedIn", "IsRegistered": p.online, "Enabled": true, "MS365TeamsEnabled": false,
	}
	out := map[string]any{}
	if fields := q.Get("$select"); fields == "" {
		out = all
	} else {
		for name := range strings.SplitSeq(fields, ",") {
			if v, ok := all[name]; ok {
				out[name] = v
			}
		}
	}
	if strings.HasPrefix(q.Get("$expand"), "ForwardingProfiles") {
		out["ForwardingProfiles"] = profiles
	}
	return out
}

// patch changes a user, or fails in one of the ways that the faults know.
func (s *Sim) patch(w http.ResponseWriter, r *http.Request, p *person) {
	var body struct {
		CurrentProfileName *string
		ForwardingProfiles []profile
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "cannot be read")
		return
	}
	switch {
	case s.limits.ReadOnly:
		answer(w, http.StatusForbidden, nil)
		return
	case body.CurrentProfileName != nil && !p.has(*body.CurrentProfileName):
		refuse(w, http.StatusBadRequest, "CurrentProfileName:\nINVALID")
		return
	}
	apply := func() {
		_ = s.change(p, "api", func() error {
			for _, f := range body.ForwardingProfiles {
				p.store(f)
			}
			if body.CurrentProfileName != nil {
				p.profile = *body.CurrentProfileName
			}
			return nil
		})
		s.stats.Patches++
	}
	switch f := s.faults; {
	case s.dice.Hit(f.AppliedLate):
		s.later(s.dice.UpTo(f.ApplyLateBy), apply)
		refuse(w, http.StatusGatewayTimeout, "too late")
	case s.dice.Hit(f.AppliedButFailed):
		apply()
		if s.dice.Hit(0.5) {
			abort()
		}
		refuse(w, http.StatusInternalServerError, "done, but do not know")
	default:
		if s.dice.Hit(f.ReadLag) {
			p.lagged, p.lagUntil = p.presence(), time.Now().Add(s.dice.UpTo(f.ReadLagBy))
		}
		apply()
		w.WriteHeader(http.StatusNoContent)
	}
}

func (p *person) has(profile string) bool {
	for _, f := range p.profiles {
		if f.Name == profile {
			return true
		}
	}
	return false
}

// store replaces a profile as a whole: what it does not say becomes its default.
func (p *person) store(f profile) {
	for i := range p.profiles {
		if p.profiles[i].ID == f.ID {
			f.Name = p.profiles[i].Name
			p.profiles[i] = f
		}
	}
}

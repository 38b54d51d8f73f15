package threecxsim

import (
	"net/http"
	"slices"
	"strconv"
)

// monitored tells whether Call Control tells the client of an extension.
func (s *Sim) monitored(p *person) bool {
	return len(s.limits.Monitored) == 0 || slices.Contains(s.limits.Monitored, p.Number)
}

func (p *person) legJSON(l *leg) map[string]any {
	return map[string]any{
		"id": l.id, "status": l.status, "dn": p.Number, "party_caller_name": "Somebody", "party_dn": "999", "party_caller_id": "+14255550100",
		"party_did": "", "device_id": "sip:" + p.Number + "@127.0.0.1:5060", "party_dn_type": "Wexternalline", "direct_control": false,
		"callid": l.call, "legid": 1,
	}
}

func (p *person) dnJSON() map[string]any {
	legs := []map[string]any{}
	for _, l := range p.legs {
		legs = append(legs, p.legJSON(l))
	}
	devices := []map[string]any{}
	if p.online {
		devices = append(devices, map[string]any{"dn": p.Number, "device_id": "sip:" + p.Number + "@127.0.0.1:5060", "user_agent": "simulated"})
	}
	return map[string]any{"dn": p.Number, "type": "Wextension", "devices": devices, "participants": legs}
}

// callControl is everything, a queue and the client's own route point included.
func (s *Sim) callControl(w http.ResponseWriter, _ *http.Request) {
	out := []map[string]any{
		{"dn": "800", "type": "Wqueue", "devices": []any{}, "participants": []any{}},
		{"dn": s.cfg.ClientID, "type": "Wroutepoint", "devices": []any{}, "participants": []any{}},
	}
	for _, p := range s.sorted() {
		if s.monitored(p) {
			out = append(out, p.dnJSON())
		}
	}
	answer(w, http.StatusOK, out)
}

// dn finds the extension in the path, if the client is told of it.
func (s *Sim) dn(w http.ResponseWriter, r *http.Request) *person {
	for _, p := range s.users {
		if p.Number != r.PathValue("dn") {
			continue
		}
		if s.monitored(p) {
			return p
		}
		answer(w, http.StatusForbidden, nil)
		return nil
	}
	answer(w, http.StatusNotFound, nil)
	return nil
}

func (s *Sim) callControlOf(w http.ResponseWriter, r *http.Request) {
	if p := s.dn(w, r); p != nil {
		answer(w, http.StatusOK, p.dnJSON())
	}
}

func (s *Sim) participants(w http.ResponseWriter, r *http.Request) {
	if p := s.dn(w, r); p != nil {
		answer(w, http.StatusOK, p.dnJSON()["participants"])
	}
}

func (s *Sim) participant(w http.ResponseWriter, r *http.Request) {
	p := s.dn(w, r)
	if p == nil {
		return
	}
	for _, l := range p.legs {
		if strconv.Itoa(l.id) == r.PathValue("id") {
			answer(w, http.StatusOK, p.legJSON(l))
			return
		}
	}
	answer(w, http.StatusNotFound, nil)
}

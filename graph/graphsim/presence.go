package graphsim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxIDs is the most ids of one getPresencesByUserId (learn:api/cloudcommunications-getpresencesbyuserid).
const maxIDs = 650

func (s *Sim) presenceRoutes(mux *http.ServeMux) {
	reading := func(name string, serve func(c *call) (reply, effect)) http.HandlerFunc {
		return s.graph(operation{name: name, class: classRead, serve: serve,
			application: []string{"Presence.Read.All", "Presence.ReadWrite.All"}, delegated: []string{"Presence.Read.All"}})
	}
	mux.HandleFunc("GET /v1.0/users/{id}/presence", reading("getPresence", (*call).getPresence))
	mux.HandleFunc("GET /v1.0/communications/presences/{id}", reading("getPresence", (*call).getPresence))
	mux.HandleFunc("POST /v1.0/communications/getPresencesByUserId", reading("getPresencesByUserId", (*call).getPresences))
	mux.HandleFunc("GET /v1.0/me/presence", s.graph(operation{name: "getPresence", class: classRead, serve: (*call).getPresence,
		delegated: []string{"Presence.Read", "Presence.Read.All", "Presence.ReadWrite"}}))
	writing := func(name string, serve func(c *call) (reply, effect)) {
		mux.HandleFunc("POST /v1.0/users/{id}/presence/"+name, s.graph(operation{name: name, class: classWrite, mutates: true, serve: serve,
			application: []string{"Presence.ReadWrite.All"}, delegated: []string{"Presence.ReadWrite"}}))
	}
	writing("setPresence", (*call).setPresence)
	writing("clearPresence", (*call).clearPresence)
	writing("setUserPreferredPresence", (*call).setPreferred)
	writing("clearUserPreferredPresence", (*call).clearPreferred)
	writing("setStatusMessage", (*call).setStatusMessage)
}

// wanted is the user of the path; of /me, the one whose token it is.
func (c *call) wanted() string {
	if id := c.r.PathValue("id"); id != "" {
		return id
	}
	return c.id.user
}

func notFound() (reply, effect) {
	return refuse(http.StatusNotFound, "NotFound", "The requested user was not found."), nil
}

func badRequest(format string, args ...any) (reply, effect) {
	return refuse(http.StatusBadRequest, "InvalidArgument", fmt.Sprintf(format, args...)), nil
}

// getPresence reads one person.
func (c *call) getPresence() (reply, effect) {
	var raw []byte
	found := c.sim.look(c.wanted(), func(p *person, now time.Time) {
		raw = append(raw, `{"@odata.context":"`+c.sim.base+`/v1.0/$metadata#users('`+p.ID+`')/presence/$entity",`...)
		raw = appendPresence(raw, p, now, c.sim.cfg.Government)
	})
	if !found {
		return notFound()
	}
	return reply{status: http.StatusOK, body: raw}, nil
}

// getPresences reads up to 650 people. Ids that are nobody's are left out.
func (c *call) getPresences() (reply, effect) {
	var in struct {
		IDs []string `json:"ids"`
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		return badRequest("The body cannot be read: %v", err)
	}
	if len(in.IDs) == 0 || len(in.IDs) > maxIDs {
		return badRequest("ids must hold 1 to %d ids, not %d", maxIDs, len(in.IDs))
	}
	raw := make([]byte, 0, 256+320*len(in.IDs))
	raw = append(raw, `{"@odata.context":"`+c.sim.base+`/v1.0/$metadata#Collection(microsoft.graph.presence)","value":[`...)
	w := c.sim.world
	w.mu.Lock()
	now := time.Now()
	first := true
	for _, id := range in.IDs {
		p := w.find(id)
		if p == nil {
			continue
		}
		w.settle(p, now)
		if !first {
			raw = append(raw, ',')
		}
		first = false
		raw = append(raw, '{')
		raw = appendPresence(raw, p, now, c.sim.cfg.Government)
	}
	w.mu.Unlock()
	return reply{status: http.StatusOK, body: append(raw, "]}"...)}, nil
}

// appendPresence appends the presence of a person, without the opening brace. By hand: a sweep of
// ten thousand people is no work. The US Government clouds know fewer properties (their CSDL). Under
// the world's lock.
func appendPresence(raw []byte, p *person, now time.Time, government bool) []byte {
	pair, sequence := p.read(now)
	raw = append(raw, `"id":"`...)
	raw = append(raw, p.ID...)
	raw = append(raw, `","availability":`...)
	raw = appendString(raw, pair.Availability)
	raw = append(raw, `,"activity":`...)
	raw = appendString(raw, pair.Activity)
	raw = append(raw, `,"statusMessage":`...)
	if !p.message.shows(now) {
		raw = append(raw, "null"...)
	} else {
		raw = append(raw, `{"message":{"content":`...)
		raw = appendString(raw, p.message.content)
		raw = append(raw, `,"contentType":"text"}}`...)
	}
	if government {
		return append(raw, '}')
	}
	raw = append(raw, `,"outOfOfficeSettings":{"message":`...)
	if p.outOfOffice && p.oofMessage != "" {
		raw = appendString(raw, p.oofMessage)
	} else {
		raw = append(raw, "null"...)
	}
	raw = append(raw, `,"isOutOfOffice":`...)
	raw = strconv.AppendBool(raw, p.outOfOffice)
	raw = append(raw, `},"workLocation":null,"sequenceNumber":"`...)
	raw = append(raw, sequence...)
	return append(raw, `"}`...)
}

// appendString appends a JSON string.
func appendString(raw []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil { // no string fails
				return append(raw, `""`...)
			}
			return append(raw, quoted...)
		}
	}
	raw = append(raw, '"')
	raw = append(raw, s...)
	return append(raw, '"')
}

// presenceBody is the body of all presence writes.
type presenceBody struct {
	SessionID    string  `json:"sessionId"`
	Availability string  `json:"availability"`
	Activity     string  `json:"activity"`
	Expiration   *string `json:"expirationDuration"`
}

// write checks what all presence writes share: a known user, and, for a user's own token, oneself.
func (c *call) write(in any) (user string, refusal reply, ok bool) {
	if len(c.body) > 0 && in != nil {
		if err := json.Unmarshal(c.body, in); err != nil {
			a, _ := badRequest("The body cannot be read: %v", err)
			return "", a, false
		}
	}
	if !c.sim.look(c.wanted(), func(p *person, _ time.Time) { user = p.ID }) {
		a, _ := notFound()
		return "", a, false
	}
	if c.id.user != "" && c.id.user != user {
		return "", refuse(http.StatusUnauthorized, "Unauthorized", "Cannot set the presence of another user"), false
	}
	return user, reply{}, true
}

// session checks the sessionId: it must be the application's own id (learn:api/presence-setpresence).
func (c *call) session(id string) (reply, bool) {
	switch {
	case id == "":
		a, _ := badRequest("[SessionId]: The SessionId field is required.")
		return a, false
	case !strings.EqualFold(id, c.id.app):
		a, _ := badRequest("[SessionId]: The SessionId must be the application id.")
		return a, false
	default:
		return reply{}, true
	}
}

func done() reply { return reply{status: http.StatusOK} }

// setPresence sets the application's session.
func (c *call) setPresence() (reply, effect) {
	var in presenceBody
	user, refusal, ok := c.write(&in)
	if !ok {
		return refusal, nil
	}
	if refusal, ok := c.session(in.SessionID); !ok {
		return refusal, nil
	}
	pair := canonical(in.Availability, in.Activity)
	allowed, effective := settable(pair)
	if !allowed {
		return badRequest("Invalid presence: availability %q with activity %q is not supported.", in.Availability, in.Activity)
	}
	life := minSession
	if in.Expiration != nil {
		var err error
		if life, err = parseDuration(*in.Expiration); err != nil {
			return badRequest("expirationDuration: %v", err)
		}
	}
	if life < minSession || life > maxSession {
		return badRequest("expirationDuration must be between PT5M and PT4H.")
	}
	if !effective {
		return done(), nil
	}
	app := c.id.app
	return done(), c.sim.effect(user, "set-presence", func(p *person, now time.Time) {
		c.sim.world.order++
		p.setApp(&appSession{app: app, pair: pair, set: now, expires: now.Add(life), changed: c.sim.world.order})
	})
}

// effect is a write that a person's presence will show. A user who has left by then is no error.
func (s *Sim) effect(user, cause string, f func(p *person, now time.Time)) effect {
	return func() {
		err := s.world.change(user, cause, true, func(p *person, now time.Time) error {
			f(p, now)
			return nil
		})
		if err != nil {
			s.log.Debug("a write landed on nobody", "cause", cause, "error", err)
		}
	}
}

func (p *person) setApp(n *appSession) {
	for i, a := range p.apps {
		if a.app == n.app {
			p.apps[i] = n
			return
		}
	}
	p.apps = append(p.apps, n)
}

// clearPresence ends the application's session; 404 when there is none.
func (c *call) clearPresence() (reply, effect) {
	var in presenceBody
	user, refusal, ok := c.write(&in)
	if !ok {
		return refusal, nil
	}
	if refusal, ok := c.session(in.SessionID); !ok {
		return refusal, nil
	}
	app, exists := c.id.app, false
	c.sim.look(user, func(p *person, _ time.Time) { exists = p.appState(app) != nil })
	if !exists {
		return refuse(http.StatusNotFound, "NotFound", "The presence session was not found."), nil
	}
	return done(), c.sim.effect(user, "clear-presence", func(p *person, _ time.Time) { p.dropApp(app) })
}

func (p *person) dropApp(app string) {
	for i, a := range p.apps {
		if a.app == app {
			p.apps = append(p.apps[:i], p.apps[i+1:]...)
			return
		}
	}
}

// setPreferred writes preferred presence.
func (c *call) setPreferred() (reply, effect) {
	var in presenceBody
	user, refusal, ok := c.write(&in)
	if !ok {
		return refusal, nil
	}
	pair := canonical(in.Availability, in.Activity)
	life, allowed := preferable(pair)
	if !allowed {
		return badRequest("Invalid preferred presence: availability %q with activity %q is not supported.", in.Availability, in.Activity)
	}
	if in.Expiration != nil {
		var err error
		if life, err = parseDuration(*in.Expiration); err != nil {
			return badRequest("expirationDuration: %v", err)
		}
		if life <= 0 {
			return badRequest("expirationDuration must be positive.")
		}
	}
	return done(), c.sim.effect(user, "set-preferred", func(p *person, now time.Time) {
		p.preferred = &preference{pair: pair, expires: now.Add(life), app: true}
	})
}

// clearPreferred ends preferred presence, whoever wrote it.
func (c *call) clearPreferred() (reply, effect) {
	user, refusal, ok := c.write(nil)
	if !ok {
		return refusal, nil
	}
	return done(), c.sim.effect(user, "clear-preferred", func(p *person, _ time.Time) { p.preferred = nil })
}

// canonical takes the words in any casing and returns the documented one.
func canonical(availability, activity string) Pair {
	for _, p := range []Pair{Available, InACall, InAConferenceCall, Away, Presenting, Busy, DoNotDisturb, BeRightBack, AppearOffline} {
		if strings.EqualFold(p.Availability, availability) && strings.EqualFold(p.Activity, activity) {
			return p
		}
	}
	for _, word := range []string{"InAMeeting", "OutOfOffice"} {
		if strings.EqualFold(word, activity) {
			return Pair{availability, word}
		}
	}
	return Pair{availability, activity}
}

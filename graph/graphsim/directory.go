package graphsim

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Page sizes of GET /users (learn:api/user-list).
const (
	usualPage = 100
	maxPage   = 999
)

// userProperties are what a user shows without $select, of what we know of users.
var userProperties = []string{"id", "userPrincipalName", "mail", "displayName", "businessPhones", "givenName", "surname", "jobTitle",
	"mobilePhone", "officeLocation", "preferredLanguage"}

func (s *Sim) directoryRoutes(mux *http.ServeMux) {
	users := func(name string, cost func(r *http.Request) int, serve func(c *call) (reply, effect)) http.HandlerFunc {
		return s.graph(operation{name: name, class: classDirectory, cost: cost, serve: serve,
			application: []string{"User.Read.All", "User.ReadBasic.All", "Directory.Read.All"},
			delegated:   []string{"User.Read.All", "User.ReadBasic.All", "Directory.Read.All"}})
	}
	applications := func(name string, serve func(c *call) (reply, effect)) http.HandlerFunc {
		return s.graph(operation{name: name, class: classDirectory, serve: serve, application: []string{"Application.Read.All", "Directory.Read.All"}})
	}
	mux.HandleFunc("GET /v1.0/users", users("listUsers", listCost, (*call).listUsers))
	mux.HandleFunc("GET /v1.0/users/delta", users("listUserChanges", nil, (*call).listUserChanges))
	s.groupRoutes(mux)
	mux.HandleFunc("GET /v1.0/users/{id}", users("getUser", nil, (*call).getUser))
	mux.HandleFunc("GET /v1.0/me", s.graph(operation{name: "getMe", class: classDirectory, delegated: []string{"User.Read", "User.Read.All"}, serve: (*call).getUser}))
	mux.HandleFunc("GET /v1.0/applications", applications("listApplications", (*call).listApplications))
	mux.HandleFunc("GET /v1.0/applications/{id}", applications("getApplication", (*call).getApplication))
	mux.HandleFunc("GET /v1.0/{key}", applications("getApplication", (*call).getApplicationByKey))
	mux.HandleFunc("GET /v1.0/servicePrincipals", applications("listServicePrincipals", (*call).listApplications))
}

// listCost is in resource units: 2, one less with $select, one less for small pages, at least one.
func listCost(r *http.Request) int {
	q, cost := r.URL.Query(), 2
	if q.Get("$select") != "" {
		cost--
	}
	if top, err := strconv.Atoi(q.Get("$top")); err == nil && top < 20 {
		cost--
	}
	return max(1, cost)
}

// property is one of a user's.
func (p *person) property(name string) any {
	switch name {
	case "id":
		return p.ID
	case "userPrincipalName":
		return p.UPN
	case "mail":
		return orNull(p.Mail)
	case "displayName":
		return orNull(p.DisplayName)
	case "businessPhones":
		if p.BusinessPhones == nil {
			return []string{}
		}
		return p.BusinessPhones
	case "accountEnabled":
		return !p.Disabled
	case "userType":
		return p.UserType
	case "mobilePhone":
		return orNull(p.MobilePhone)
	case "proxyAddresses":
		if p.ProxyAddresses == nil {
			return []string{}
		}
		return p.ProxyAddresses
	case "onPremisesExtensionAttributes":
		out := map[string]any{}
		for i := range 15 {
			key := "extensionAttribute" + strconv.Itoa(i+1)
			out[key] = orNull(p.Attributes[key])
		}
		return out
	default:
		return orNull(p.Attributes[name])
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// selected are the properties that the request asks for. An unknown one is refused, as by Graph.
func selected(q url.Values) []string {
	list := q.Get("$select")
	if list == "" {
		return userProperties
	}
	names := strings.Split(list, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	if !slices.Contains(names, "id") {
		names = append(names, "id")
	}
	return names
}

func (p *person) show(names []string) map[string]any {
	out := make(map[string]any, len(names)+1)
	for _, name := range names {
		out[name] = p.property(name)
	}
	return out
}

// getUser reads one user, by id or UPN.
func (c *call) getUser() (reply, effect) {
	var out map[string]any
	names := selected(c.r.URL.Query())
	if !c.sim.look(c.wanted(), func(p *person, _ time.Time) { out = p.show(names) }) {
		return refuse(http.StatusNotFound, "Request_ResourceNotFound",
			"Resource '"+c.wanted()+"' does not exist or one of its queried reference-property objects are not present."), nil
	}
	out["@odata.context"] = c.sim.base + "/v1.0/$metadata#users/$entity"
	return reply{status: http.StatusOK, body: out}, nil
}

// listUsers reads a page of users, ascending by id. A user who joins or leaves between two pages
// shifts nobody.
func (c *call) listUsers() (reply, effect) {
	q := c.r.URL.Query()
	top := usualPage
	if raw := q.Get("$top"); raw != "" {
		n, err := strconv.Atoi(raw)
		if err != nil || n < 1 || n > maxPage {
			return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "Invalid page size specified: '"+raw+"'. Must be between 1 and 999 inclusive."), nil
		}
		top = n
	}
	if q.Has("$skip") {
		return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "'$skip' is not supported by the service."), nil
	}
	match, ok := userFilter(q.Get("$filter"))
	if !ok {
		return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause specified."), nil
	}
	after, err := base64.RawURLEncoding.DecodeString(q.Get("$skiptoken"))
	if err != nil {
		return refuse(http.StatusBadRequest, "Directory_ExpiredPageToken", "The specified page token value has expired and cannot be included in your request."), nil
	}
	value, last := c.page(string(after), top, match, selected(q))
	out := map[string]any{"@odata.context": c.sim.base + "/v1.0/$metadata#users", "value": value}
	if last != "" {
		q.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(last)))
		out["@odata.nextLink"] = c.sim.base + "/v1.0/users?" + q.Encode()
	}
	return reply{status: http.StatusOK, body: out}, nil
}

// page collects up to top users that come after the id given; last is the id to go on after.
func (c *call) page(after string, top int, match func(*person) bool, names []string) (value []map[string]any, last string) {
	w := c.sim.world
	w.mu.Lock()
	defer w.mu.Unlock()
	at, found := w.position(after)
	if found {
		at++
	}
	value = []map[string]any{}
	for _, p := range w.list[at:] {
		if !match(p) {
			continue
		}
		if len(value) == top {
			return value, last
		}
		value = append(value, p.show(names))
		last = p.ID
	}
	return value, ""
}

var equals = regexp.MustCompile(`^\s*(\w+)\s+eq\s+(?:'([^']*)'|(true|false))\s*$`)

// userFilter reads $filter: comparisons with eq, joined by and.
func userFilter(filter string) (func(*person) bool, bool) {
	if filter == "" {
		return func(*person) bool { return true }, true
	}
	type condition struct {
		name string
		want any
	}
	var all []condition
	for part := range strings.SplitSeq(filter, " and ") {
		m := equals.FindStringSubmatch(part)
		if m == nil {
			return nil, false
		}
		var want any = m[2]
		if m[3] != "" {
			want = m[3] == "true"
		}
		all = append(all, condition{m[1], want})
	}
	return func(p *person) bool {
		for _, c := range all {
			have := p.property(c.name)
			text, isText := have.(string)
			want, wantText := c.want.(string)
			if isText && wantText && strings.EqualFold(text, want) {
				continue
			}
			if have != c.want {
				return false
			}
		}
		return true
	}, true
}

// application is what the directory says about the app registration: when its secret ends, and where sign-ins may lead.
// Without registered redirect URIs the simulator accepts any, and does not show the platform at all.
func (c *call) application(id string) map[string]any {
	s := c.sim
	out := map[string]any{
		"id": servicePrincipalID("object/" + id), "appId": id, "displayName": "Presence bridge (simulated)",
		"passwordCredentials": c.secrets(id), "keyCredentials": c.certificates(id),
	}
	if len(s.cfg.RedirectURIs) > 0 {
		out["web"] = map[string]any{"redirectUris": s.cfg.RedirectURIs}
	}
	return out
}

// secrets are those of an app registration, as passwordCredentials: never the secret, but its first three characters.
func (c *call) secrets(id string) []map[string]any {
	out := []map[string]any{}
	c.sim.login.editApp(id, func(a *app) {
		for i, secret := range a.secrets {
			end, own := a.ends[secret]
			if !own {
				end = c.sim.cfg.SecretExpiry
			}
			key := "secret/" + id
			if i > 0 {
				key += "/" + secret
			}
			out = append(out, map[string]any{
				"keyId": servicePrincipalID(key), "displayName": "secret", "hint": secret[:min(3, len(secret))],
				"secretText": nil, "startDateTime": end.AddDate(-1, 0, 0).UTC().Format(time.RFC3339),
				"endDateTime": end.UTC().Format(time.RFC3339),
			})
		}
	})
	return out
}

// certificates are the registered ones, as keyCredentials.
func (c *call) certificates(id string) []map[string]any {
	out := []map[string]any{}
	c.sim.login.editApp(id, func(a *app) {
		for _, cert := range a.certificates {
			out = append(out, map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": cert.Subject.String(),
				"startDateTime": cert.NotBefore.UTC().Format(time.RFC3339), "endDateTime": cert.NotAfter.UTC().Format(time.RFC3339)})
		}
	})
	return out
}

// hasApp tells whether there is an app registration of that client id.
func (l *login) hasApp(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.apps[id] != nil
}

func (c *call) listApplications() (reply, effect) {
	value := []map[string]any{}
	filter := c.r.URL.Query().Get("$filter")
	if m := equals.FindStringSubmatch(filter); filter == "" || (m != nil && m[1] == "appId" && strings.EqualFold(m[2], c.sim.ClientID)) {
		value = append(value, c.application(c.sim.ClientID))
	}
	return reply{status: http.StatusOK, body: map[string]any{"value": value}}, nil
}

func (c *call) getApplication() (reply, effect) {
	if a := c.application(c.sim.ClientID); c.r.PathValue("id") == a["id"] {
		return reply{status: http.StatusOK, body: a}, nil
	}
	return refuse(http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+c.r.PathValue("id")+"' does not exist."), nil
}

var byAppID = regexp.MustCompile(`^(?:applications|servicePrincipals)\(appId='([^']+)'\)$`)

// getApplicationByKey is GET /applications(appId='…') and /servicePrincipals(appId='…').
func (c *call) getApplicationByKey() (reply, effect) {
	if m := byAppID.FindStringSubmatch(c.r.PathValue("key")); m != nil && c.sim.login.hasApp(strings.ToLower(m[1])) {
		return reply{status: http.StatusOK, body: c.application(strings.ToLower(m[1]))}, nil
	}
	return refuse(http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+c.r.PathValue("key")+"' does not exist."), nil
}

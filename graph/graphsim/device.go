package graphsim

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// serveDeviceCode is POST /{tenant}/oauth2/v2.0/devicecode. A login_hint, which Entra ignores, says
// whom an automatic approval signs in.
func (l *login) serveDeviceCode(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		l.writeLoginError(w, aadsts(aadInvalidRequest))
		return
	}
	a, _, refusal := l.client(r)
	switch {
	case !l.mine(r.PathValue("tenant")):
		refusal = aadsts(aadNoTenant)
	case refusal == nil && r.PostForm.Get("scope") == "":
		refusal = aadsts(aadScope)
	}
	if refusal != nil {
		l.writeLoginError(w, refusal)
		return
	}
	d := &device{userCode: strings.ToUpper(l.sim.draw.token(9)), app: a.id, hint: r.PostForm.Get("login_hint"),
		scopes: a.granted(r.PostForm.Get("scope")), expires: time.Now().Add(deviceLifetime)}
	raw := l.sim.draw.token(80)
	l.mu.Lock()
	l.devices[raw] = d
	l.mu.Unlock()
	if l.sim.cfg.AutoApprove {
		l.autoApprove(d)
	}
	page := l.sim.base + "/devicelogin"
	writeJSON(w, http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": raw, "verification_uri": page, "expires_in": int(deviceLifetime.Seconds()),
		"interval": max(1, int(l.sim.cfg.DeviceInterval.Seconds())),
		"message":  fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, d.userCode),
	})
}

// deviceToken is the polling of a device code.
func (l *login) deviceToken(a app, authenticated bool, r *http.Request) (map[string]any, *loginError) {
	raw := cmp.Or(r.PostForm.Get("device_code"), r.PostForm.Get("code"))
	now := time.Now()
	l.mu.Lock()
	found := l.devices[raw]
	var d device
	if found != nil {
		d = *found
		found.polled = now
		if d.user != "" {
			delete(l.devices, raw)
		}
	}
	l.mu.Unlock()
	switch {
	case found == nil || d.app != a.id:
		return nil, aadsts(aadBadCode)
	case d.declined:
		return nil, declined()
	case !d.expires.After(now):
		return nil, aadsts(aadExpiredCode)
	case d.user != "":
		return l.delegated(a, grant{user: d.user, app: a.id, scopes: d.scopes, public: !authenticated})
	case now.Sub(d.polled) < l.sim.cfg.DeviceInterval/2: // RFC 8628 section 3.5
		return nil, aadsts(aadSlowDown)
	default:
		return nil, aadsts(aadPending)
	}
}

// autoApprove signs a monitor in: the one that the request hints at, else the one that was approved
// least often so far.
func (l *login) autoApprove(d *device) {
	user := l.nextMonitor(d.hint)
	l.mu.Lock()
	defer l.mu.Unlock()
	if user != "" {
		d.user = user
		l.approved[user]++
	}
}

func (l *login) nextMonitor(hint string) string {
	id := ""
	if hint != "" {
		l.sim.look(hint, func(p *person, _ time.Time) { id = p.ID })
		return id
	}
	monitors := l.sim.monitors()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range monitors {
		if id == "" || l.approved[m] < l.approved[id] {
			id = m
		}
	}
	return id
}

// monitors are the ids of the monitors, in the order of the configuration.
func (s *Sim) monitors() []string {
	var ids []string
	for _, upn := range s.cfg.Monitors {
		s.look(upn, func(p *person, _ time.Time) { ids = append(ids, p.ID) })
	}
	return ids
}

// DeviceCodes are the device codes that wait for a person.
func (s *Sim) DeviceCodes() []DeviceCode {
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	codes := []DeviceCode{}
	for _, d := range s.login.devices {
		if d.user == "" && !d.declined && d.expires.After(time.Now()) {
			codes = append(codes, DeviceCode{d.userCode, d.scopes, d.expires})
		}
	}
	slices.SortFunc(codes, func(a, b DeviceCode) int {
		return cmp.Or(a.Expires.Compare(b.Expires), strings.Compare(a.UserCode, b.UserCode))
	})
	return codes
}

// Approve signs a user in with the code that a device shows.
func (s *Sim) Approve(userCode, user string) error {
	id := ""
	s.look(user, func(p *person, _ time.Time) { id = p.ID })
	if id == "" {
		return unknownUser(user)
	}
	return s.login.decide(userCode, func(d *device) { d.user = id })
}

// Decline refuses the code that a device shows.
func (s *Sim) Decline(userCode string) error {
	return s.login.decide(userCode, func(d *device) { d.declined = true })
}

// Expire ends the code that a device shows before its time.
func (s *Sim) Expire(userCode string) error {
	return s.login.decide(userCode, func(d *device) { d.expires = time.Now() })
}

// Forget makes the login service not know the code any more that a device shows: whoever polls for it gets a bad code.
func (s *Sim) Forget(userCode string) error {
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	for raw, d := range s.login.devices {
		if strings.EqualFold(d.userCode, userCode) {
			delete(s.login.devices, raw)
			return nil
		}
	}
	return fmt.Errorf("graphsim: no device code %q waits: list those that do", userCode)
}

func (l *login) decide(userCode string, f func(d *device)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.devices {
		if strings.EqualFold(d.userCode, userCode) && d.user == "" && !d.declined {
			f(d)
			return nil
		}
	}
	return fmt.Errorf("graphsim: no device code %q waits: list those that do", userCode)
}

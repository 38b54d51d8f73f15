package threecx

import (
	"context"
	"fmt"
	"strings"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// profiles are the statuses of every 3CX, by their names on the wire (facts: 3CX profile names). People see Out of
// office as Do Not Disturb. The customs stop the PBX's own switching too, and are the person's.
func profiles() []presence.Status {
	return []presence.Status{
		{Name: "Available", Kind: presence.KindAvailable},
		{Name: "Away", Kind: presence.KindAway},
		{Name: "Out of office", Kind: presence.KindDND},
		{Name: "Custom 1", Kind: presence.KindCustom},
		{Name: "Custom 2", Kind: presence.KindCustom},
	}
}

// Statuses implements [pbx.Connector]. They are the same on every PBX.
func (c *Client) Statuses(ctx context.Context) ([]presence.Status, error) {
	if err := ctx.Err(); err != nil {
		return nil, typed("list statuses", err)
	}
	return profiles(), nil
}

// status is the profile that a user shows. One that was renamed is known by its name on the wire; any that we do not
// know is the person's own.
func status(name string, of []wireProfile) presence.Status {
	if name == "" {
		return presence.Status{}
	}
	for _, p := range profiles() {
		if strings.EqualFold(p.Name, name) {
			return p
		}
	}
	for _, f := range of {
		if f.CustomName == "" || !strings.EqualFold(f.CustomName, name) {
			continue
		}
		for _, p := range profiles() {
			if strings.EqualFold(p.Name, f.Name) {
				return p
			}
		}
	}
	return presence.Status{Name: name, Kind: presence.KindCustom}
}

// message is the one that the profile shows.
func message(name string, of []wireProfile) string {
	for _, f := range of {
		if strings.EqualFold(f.Name, name) {
			return f.CustomMessage
		}
	}
	return ""
}

// wireName is the profile to write for a status: by its name on the wire, by the name that the site gave it, or the
// first of its kind where it has no name.
func wireName(st presence.Status, of []wireProfile) (string, error) {
	for _, p := range profiles() {
		if st.Name == "" && p.Kind == st.Kind || st.Name != "" && strings.EqualFold(p.Name, st.Name) {
			return p.Name, nil
		}
	}
	if st.Name != "" {
		for _, f := range of {
			if strings.EqualFold(f.CustomName, st.Name) {
				return f.Name, nil
			}
		}
	}
	return "", fmt.Errorf("a 3CX has no profile for %q", st.String())
}

// lineOf puts the call state of an extension and the registration of its phones together.
func lineOf(calls presence.Line, registered *bool) presence.Line {
	if calls == presence.LineIdle && registered != nil && !*registered {
		return presence.LineOffline
	}
	return calls
}

func (u wireUser) state(calls presence.Line) pbx.State {
	st := status(u.CurrentProfileName, u.ForwardingProfiles)
	return pbx.State{Line: lineOf(calls, u.IsRegistered), Status: st, Message: message(st.Name, u.ForwardingProfiles)}
}

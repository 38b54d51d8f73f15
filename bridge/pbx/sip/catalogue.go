package sip

import "presencebridge/bridge/presence"

// Catalogue is what can be published, on whatever PBX, for whoever wants to know without asking one.
func Catalogue() []presence.Status {
	list := activities()
	out := make([]presence.Status, len(list))
	for i, a := range list {
		out[i] = a.status
	}
	return out
}

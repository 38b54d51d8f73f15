package connect

import (
	"presencebridge/bridge/pbx/sip"
	"presencebridge/bridge/pbx/threecx"
	"presencebridge/bridge/presence"
)

// Catalogue is the statuses that every PBX of a type offers; nil where each site has its own.
func Catalogue(pbxType string) []presence.Status {
	switch pbxType {
	case "3cx":
		return threecx.Catalogue()
	case "sip":
		return sip.Catalogue()
	}
	return nil
}

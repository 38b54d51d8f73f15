package threecx

import "presencebridge/bridge/presence"

// Catalogue is what every 3CX offers, for whoever wants to know without asking one.
func Catalogue() []presence.Status { return profiles() }

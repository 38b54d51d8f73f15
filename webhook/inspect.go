package webhook

import "presencebridge/graph/notify"

// findings are what the items of one body say.
type findings struct {
	genuine int   // items with a clientState of ours
	rich    bool  // at least one of those carries encrypted content
	err     error // the body is not JSON: then nothing in it counts
}

// inspect checks the clientState of every item, each on its own: one POST may hold items of several
// subscriptions. One genuine item is enough for a body to be kept, whole: each item is checked again by
// whoever takes it off the bus, and that one also says what is wrong with an item that is ours.
func (a *account) inspect(body []byte) findings {
	var f findings
	var forged, absent int
	last := "" // the last state found genuine: the items of one subscription share theirs
	f.err = notify.ScanHeads(body, func(h notify.Head) bool {
		switch {
		case h.ClientState == "":
			absent++
		case h.ClientState == last || a.made(h.ClientState):
			last = h.ClientState
			f.genuine++
			f.rich = f.rich || h.HasEncryptedContent
		default:
			forged++
		}
		return true
	})
	a.meters.items(f.genuine, forged, absent)
	return f
}

// made tells whether a clientState is one of the account's, whichever of the keys made it.
func (a *account) made(state string) bool {
	if a.verifier.check(state) {
		return true
	}
	if a.keys == nil || len(state) != clientStateLen {
		return false
	}
	for _, key := range a.keys() {
		if CheckClientState(key, a.name, state) {
			return true
		}
	}
	return false
}

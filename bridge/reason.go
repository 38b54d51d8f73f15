package bridge

// Reason says why a side looks as it does. It is a metric label, a log attribute, what the API and the console
// show, always with the same word, and what `users explain` says with the sentence of [Reason.Text].
type Reason string

// The reasons.
const (
	ReasonAsserted         Reason = "asserted"           // we put this there
	ReasonNothingWanted    Reason = "nothing_wanted"     // policy makes nothing of the other side
	ReasonHidden           Reason = "hidden"             // our assertion shows; the person's own cannot be seen (R2)
	ReasonBeneath          Reason = "beneath"            // a status under an assertion of ours does not cross (R3)
	ReasonUnknown          Reason = "unknown"            // not seen for a lease (R4)
	ReasonAwaitRead        Reason = "await_read"         // a direct read comes first (R5, R8, R14)
	ReasonWoken            Reason = "woken"              // a stored preference that our session woke (R5)
	ReasonUnanswered       Reason = "unanswered"         // a write is waited out (R6)
	ReasonFenced           Reason = "fenced"             // a write may not show yet (R7)
	ReasonHoldDown         Reason = "hold_down"          // least time between two writes (R13)
	ReasonPaced            Reason = "paced"              // waits for the write budget of that side (R13)
	ReasonOutranked        Reason = "outranked"          // the person's own choice ranks as high or higher (R9)
	ReasonAlreadyShows     Reason = "already_shows"      // the person's own state is that already (R9)
	ReasonWithdrawn        Reason = "withdrawn"          // we took ours away (R10)
	ReasonRenewed          Reason = "renewed"            // the lease was renewed (R12)
	ReasonUnconfirmed      Reason = "unconfirmed"        // a value that we withdrew shows; a read decides (R15)
	ReasonPurge            Reason = "purge"              // our last intent is sent again before a read is believed (R15)
	ReasonOverride         Reason = "override"           // the person chose by hand (R17)
	ReasonMasked           Reason = "masked"             // the person's own Teams choice outranks our assertion
	ReasonExcluded         Reason = "excluded"           // opted out, or left
	ReasonConflict         Reason = "conflict"           // the PBX had a newer version
	ReasonRefused          Reason = "refused"            // the PBX refused; tried again later
	ReasonAdopted          Reason = "adopted"            // ours from a former life (R8)
	ReasonLate             Reason = "late"               // older than what is known
	ReasonOvertaken        Reason = "overtaken"          // a read that something newer overtook
	ReasonCompeting        Reason = "competing_writers"  // another program fights over what we write, so we stay away
	ReasonLinger           Reason = "linger"             // a meeting right after a call may be the same call
	ReasonObserving        Reason = "observing"          // the account only observes: this would be written
	ReasonStatusNotOffered Reason = "status_not_offered" // the PBX has no status that the rule could set
)

// Text is the reason in a plain sentence about "this side", which is Teams or a phone. It is the one place where a reason
// is put into words; a reason without one, which a newer bridge may have stored, comes back as it is.
func (r Reason) Text() string {
	switch r {
	case ReasonAsserted:
		return "the bridge has put this here, because of the other side"
	case ReasonNothingWanted:
		return "by the policy, the other side's state means nothing here"
	case ReasonHidden:
		return "in Teams the bridge's own state shows, so the person's own cannot be seen and nothing follows from it"
	case ReasonBeneath:
		return "a phone status under a state of the bridge does not cross to the other side"
	case ReasonUnknown:
		return "a side was not seen for too long, so nothing follows from it"
	case ReasonAwaitRead:
		return "this side is read directly before anything is written"
	case ReasonWoken:
		return "the bridge's session woke a status that the person had chosen before; it counts as the bridge's own doing until that session ends"
	case ReasonUnanswered:
		return "a write was not answered; nothing more is sent until it can no longer take effect"
	case ReasonFenced:
		return "a write may not show yet, so nothing more is written until it does"
	case ReasonHoldDown:
		return "the last write was a moment ago; the next one waits for the least time between two"
	case ReasonPaced:
		return "the write waits for its turn, because the budget of writes to this side is used up"
	default:
		return r.moreText()
	}
}

func (r Reason) moreText() string {
	switch r {
	case ReasonOutranked:
		return "what the person chose here themselves ranks as high or higher, so it is left alone"
	case ReasonAlreadyShows:
		return "the person's own state here is what the bridge would set, so nothing is written"
	case ReasonWithdrawn:
		return "the bridge took its own state away, because its cause ended"
	case ReasonRenewed:
		return "the bridge's state was prolonged, because its cause goes on"
	case ReasonUnconfirmed:
		return "a state that the bridge has taken away shows again; a direct read decides whose it is"
	case ReasonPurge:
		return "a state that the bridge has taken away still shows; what it last ordered is sent again before anything is believed"
	case ReasonOverride:
		return "the person chose this by hand, so it is left alone until the other side changes to something else"
	case ReasonMasked:
		return "the bridge's state stands, but does not show, because the person's own choice outranks it"
	case ReasonExcluded:
		return "the person opted out, or left: the bridge takes its own states away and writes nothing more"
	case ReasonConflict:
		return "the PBX had changed meanwhile, so nothing was written"
	case ReasonRefused:
		return "the PBX refused the write; it is tried again later"
	case ReasonAdopted:
		return "a state that the bridge had set before was found and is the bridge's own"
	case ReasonLate:
		return "the news was older than what is known"
	case ReasonOvertaken:
		return "the read was overtaken by something newer"
	case ReasonStatusNotOffered:
		return "the PBX has no status that the policy could set"
	case ReasonCompeting:
		return "another program keeps putting back what the bridge writes here, so the bridge stays away for a while"
	case ReasonObserving:
		return "the account only observes (mode: observe), so nothing is written here"
	case ReasonLinger:
		return "Teams turned from a call to a meeting a moment ago, which may still be the same call, so the phone is left as it is for now"
	default:
		return string(r)
	}
}

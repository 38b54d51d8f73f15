package bridge

// Reason says why a side looks as it does. It is a metric label, a log attribute, and what `users get`
// prints, always with the same word.
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
	ReasonStatusNotOffered Reason = "status_not_offered" // the PBX has no status that the rule could set
)

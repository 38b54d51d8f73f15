package bridge

// RuleSet is a set of the rules that are said to be necessary.
type RuleSet uint32

// The rules that [Rules.Without] can switch off, by their numbers in DESIGN.md.
const (
	RuleHidden       RuleSet = 1 << iota // R2: what our session shows counts as the person's own
	RuleBeneath                          // R3: the status beneath an assertion of ours crosses
	RuleUnknown                          // R4: a side that is not seen stays as it was
	RuleWoken                            // R5: what our session wakes counts as a choice
	RuleWriteAhead                       // R6: an error is taken for a write that did not land
	RuleFence                            // R7: a read right after an answer is believed
	RuleReadFirst                        // R8: a status is written over without a look, or a version
	RuleRank                             // R9: a first assertion writes over any choice
	RuleConfirm                          // R14: everything is believed at once
	RuleAnsweredRead                     // R15: a value that we withdrew is believed like any other
	RulePersonWins                       // R17: a choice by hand is no override
)

// without tells whether a rule is switched off, which it never is outside tests.
func (r *Rules) without(x RuleSet) bool { return r.Without&x != 0 }

package presence

// Shown is what a read of Teams says of a person. A change notification carries the pair alone (facts: rich payload).
type Shown struct {
	Pair        Pair
	OutOfOffice Absence
	Message     string // status message, plain text
}

package pbx

// kindWords are the kinds as metric labels and on their way between processes.
func kindWords() [Unauthorised + 1]string {
	return [...]string{
		Unanswered: "unanswered", Conflict: "conflict", Throttled: "throttled", Gone: "gone", Refused: "refused", Unauthorised: "unauthorised",
	}
}

// String is the kind as a word.
func (k ErrorKind) String() string {
	if k > Unauthorised {
		k = Unanswered
	}
	return kindWords()[k]
}

// ParseErrorKind reads such a word; any other is [Unanswered], about which nothing is known.
func ParseErrorKind(word string) ErrorKind {
	for k, w := range kindWords() {
		if w == word {
			return ErrorKind(k)
		}
	}
	return Unanswered
}

package policy

import (
	"strings"
	"unicode/utf16"
)

// TeamsMessageLimit is the longest status message that Teams' own clients let a person write, in UTF-16 units. Graph
// documents no limit (facts: setStatusMessage).
const TeamsMessageLimit = 280

// ClipMessage cuts a message to at most limit UTF-16 units, the way in which Teams counts; what was cut ends with an
// ellipsis. No limit (0) leaves it as it is.
func ClipMessage(text string, limit int) string {
	text = strings.TrimSpace(text)
	if limit <= 0 || messageLen(text) <= limit {
		return text
	}
	n, end := 0, 0
	for i, r := range text {
		if n += utf16.RuneLen(r); n > limit-1 {
			break
		}
		end = i + len(string(r))
	}
	return strings.TrimSpace(text[:end]) + "…"
}

// messageLen is the length of valid text in UTF-16 units.
func messageLen(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

package policy

import (
	"regexp"
	"slices"
)

// keyWords are the keys of a policy, wherever they stand.
func keyWords() []string {
	return []string{"preset", "teams_to_pbx", "pbx_to_teams", "groups", "group", "opt_out", "when", "set", "class", "availability", "activity",
		"out_of_office", "line", "status", "status_kind", "pbx", "presence", "method", "for", "message"}
}

// didYouMean is what to add to the YAML decoder's message about a key that does not exist: the key that was meant, if one
// is close enough.
func didYouMean(message string) string {
	m := regexp.MustCompile(`unknown field "([^"]{1,32})"`).FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	best, at := "", max(1, len(m[1])/3)+1
	for _, key := range keyWords() {
		if d := distance(m[1], key); d < at {
			best, at = key, d
		}
	}
	if best == "" || best == m[1] { // a key that exists, elsewhere
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance counts the letters to insert, drop or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := slices.Clone(row)
		row[0] = i + 1
		for j := range len(b) {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, replace)
		}
	}
	return row[len(b)]
}

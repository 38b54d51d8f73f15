package app

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"presencebridge/bridge/directory"
)

// named is somebody whom an administrator can name.
type named struct {
	id, upn, mail, name string
	extensions          []string
	unmatched           *directory.Person // nil for a member
}

// everybody is who can be named: the members, and the people without a counterpart.
func (a *account) everybody() []named {
	members := a.engine.Members()
	others := a.dir.unmatched()
	out := make([]named, 0, len(members)+len(others))
	for i := range members {
		m := &members[i]
		n := named{id: m.ID, upn: m.UPN, mail: m.Mail, name: m.Name}
		for _, ep := range m.Endpoints {
			n.extensions = append(n.extensions, a.dir.extension(ep))
		}
		out = append(out, n)
	}
	for i := range others {
		p := &others[i]
		out = append(out, named{id: p.ID, upn: p.UPN, mail: p.Mail, name: p.Name, unmatched: p})
	}
	return out
}

// lookUp finds somebody by id, UPN, mail or extension, whatever the casing. An id or a UPN is one person's; a mail
// address or an extension may be several people's, and then the error says whose.
func (a *account) lookUp(key string) (named, error) { return find(a.everybody(), a.name, key) }

func find(all []named, account, key string) (named, error) {
	var found []named
	for _, is := range []func(*named) bool{
		func(n *named) bool { return strings.EqualFold(n.id, key) },
		func(n *named) bool { return n.upn != "" && strings.EqualFold(n.upn, key) },
		func(n *named) bool { return n.mail != "" && strings.EqualFold(n.mail, key) },
		func(n *named) bool { return key != "" && slices.Contains(n.extensions, key) },
	} {
		for i := range all {
			if is(&all[i]) {
				found = append(found, all[i])
			}
		}
		if len(found) > 0 {
			break
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		near := nearest(all, key)
		text := fmt.Sprintf("the account %s has no member %q: give an id, a UPN, a mail address or an extension", account, key)
		if len(near) > 0 {
			text += "; did you mean " + strings.Join(near, ", ") + "?"
		}
		return named{}, &replyError{Kind: "not_found", Text: text, Candidates: near}
	default:
		var keys, texts []string
		for i := range found {
			keys = append(keys, found[i].id)
			texts = append(texts, fmt.Sprintf("%s (id %s)", cmp.Or(found[i].upn, found[i].name), found[i].id))
		}
		return named{}, &replyError{Kind: "conflict", Candidates: keys,
			Text: fmt.Sprintf("%q is %d people of the account %s, say which by the id: %s", key, len(found), account, strings.Join(texts, ", "))}
	}
}

// maxNear is how many people are proposed instead of one who does not exist.
const maxNear = 3

// nearest are the UPNs of the people whose UPN, mail, name or extension looks most like the key.
func nearest(all []named, key string) []string {
	key = strings.ToLower(strings.TrimSpace(key))
	if key == "" {
		return nil
	}
	local, _, _ := strings.Cut(key, "@")
	type candidate struct {
		key      string
		distance int
	}
	var near []candidate
	for i := range all {
		n := &all[i]
		best := len(key) // as far as can be
		for _, other := range append([]string{n.upn, n.mail, n.name}, n.extensions...) {
			if other == "" {
				continue
			}
			other = strings.ToLower(other)
			otherLocal, _, _ := strings.Cut(other, "@")
			best = min(best, distance(key, other), distance(local, otherLocal))
			if len(local) >= 3 && strings.Contains(other, local) {
				best = min(best, 1)
			}
		}
		if best <= 1+len(local)/4 {
			near = append(near, candidate{cmp.Or(n.upn, n.id), best})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.key, b.key))
	})
	var out []string
	for _, c := range near[:min(len(near), maxNear)] {
		out = append(out, c.key)
	}
	return out
}

// distance is how many letters have to be put in, left out or replaced (Levenshtein).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j := range y {
			replaced := diagonal
			if x[i] != y[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j]+1, diagonal+1, replaced)
		}
	}
	return row[len(y)]
}

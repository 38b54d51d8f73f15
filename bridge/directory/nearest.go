package directory

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/adrg/strutil/metrics"
)

// Near is somebody, or something, that looks like what was left over. It is a hint for a person who repairs
// the lists; nothing is ever matched by it.
type Near struct {
	ID    string  `json:"id"`    // a person's object id, or "pbx/user" of an endpoint
	Text  string  `json:"text"`  // how to recognise it
	Score float64 `json:"score"` // 0 to 1, 1 being equal
}

const (
	nearEnough   = 0.82 // below that the eye sees no likeness
	nearAtMost   = 3    // candidates in all
	commonAtMost = 200  // a word that more have than that says nothing
)

// Finder finds what is nearest by name and address. It is safe for concurrent use.
type Finder struct {
	items   []nearItem
	byWord  map[string][]int32
	measure *metrics.JaroWinkler
}

type nearItem struct {
	id, text string
	words    []string // of name and address, sorted
	joined   string
}

// NewPeopleFinder finds people.
func NewPeopleFinder(people []User) *Finder {
	f := newFinder(len(people))
	for i := range people {
		u := &people[i]
		if u.Enabled && !u.guest() {
			f.add(key(u.ID), describe(u.Name, u.UPN, u.Mail), u.Name, u.Mail, u.UPN)
		}
	}
	return f
}

// NewEndpointFinder finds endpoints.
func NewEndpointFinder(list []Endpoint) *Finder {
	f := newFinder(len(list))
	for i := range list {
		e := &list[i]
		f.add(e.ID.String(), describe(e.Name, e.Mail, e.Extension), e.Name, e.Mail, "")
	}
	return f
}

func newFinder(n int) *Finder {
	return &Finder{items: make([]nearItem, 0, n), byWord: make(map[string][]int32, n), measure: metrics.NewJaroWinkler()}
}

func (f *Finder) add(id, text, name, mail, upn string) {
	at := int32(len(f.items))
	words := nearWords(name, mail, upn)
	f.items = append(f.items, nearItem{id: id, text: text, words: words, joined: strings.Join(words, " ")})
	for _, w := range words {
		for _, k := range grams(w) {
			f.byWord[k] = append(f.byWord[k], at)
		}
	}
}

// Person finds the people nearest to an endpoint, the nearest first.
func (f *Finder) Person(e *Endpoint) []Near { return f.near(nearWords(e.Name, e.Mail, "")) }

// Endpoint finds the endpoints nearest to a person, the nearest first.
func (f *Finder) Endpoint(p *Person) []Near { return f.near(nearWords(p.Name, p.Mail, p.UPN)) }

func (f *Finder) near(words []string) []Near {
	if len(words) == 0 {
		return nil
	}
	seen := map[int32]bool{}
	joined := strings.Join(words, " ")
	var out []Near
	for _, w := range words {
		for _, k := range grams(w) {
			list := f.byWord[k]
			if len(list) > commonAtMost {
				continue
			}
			for _, at := range list {
				if seen[at] {
					continue
				}
				seen[at] = true
				if s := f.score(words, joined, &f.items[at]); s >= nearEnough {
					out = append(out, Near{f.items[at].id, f.items[at].text, s})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Near) int { return cmp.Or(cmp.Compare(b.Score, a.Score), strings.Compare(a.ID, b.ID)) })
	return out[:min(len(out), nearAtMost)]
}

// score compares word by word, each with the most alike of the other side, so that the order of names and one word
// more do not matter; and as a whole.
func (f *Finder) score(words []string, joined string, it *nearItem) float64 {
	few, many := words, it.words
	if len(few) > len(many) {
		few, many = many, few
	}
	sum, weight := 0.0, 0.0
	for _, a := range few {
		best := 0.0
		for _, b := range many {
			best = max(best, f.measure.Compare(a, b))
		}
		sum, weight = sum+best*float64(len(a)), weight+float64(len(a))
	}
	return (2*sum/weight + f.measure.Compare(joined, it.joined)) / 3
}

// nearWords are the words of a name and of the addresses' local parts, sorted, each once.
func nearWords(name, mail, upn string) []string {
	local := func(address string) string { s, _, _ := strings.Cut(address, "@"); return s }
	all := strings.ToLower(name + " " + local(mail) + " " + local(upn))
	words := strings.FieldsFunc(all, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	words = slices.DeleteFunc(words, func(w string) bool { return len(w) < 2 })
	slices.Sort(words)
	return slices.Compact(words)
}

// grams are what words are looked up by: their beginning and their end, so that one letter may be wrong.
func grams(w string) []string {
	r := []rune(w)
	if len(r) <= 3 {
		return []string{w}
	}
	return []string{"^" + string(r[:3]), string(r[len(r)-3:]) + "$"}
}

// describe is how a person recognises somebody.
func describe(name string, more ...string) string {
	more = slices.DeleteFunc(more, func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(more) == 2 && strings.EqualFold(more[0], more[1]) {
		more = more[:1]
	}
	if name = strings.TrimSpace(name); name == "" {
		return strings.Join(more, ", ")
	}
	if len(more) == 0 {
		return name
	}
	return name + " (" + strings.Join(more, ", ") + ")"
}

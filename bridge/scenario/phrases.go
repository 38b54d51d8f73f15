package scenario

import (
	"regexp"
	"slices"
	"strings"
)

// Section is where in a story a step stands.
type Section string

// The sections.
const (
	Given   Section = "Given"
	When    Section = "When"
	Then    Section = "Then"
	Finally Section = "Finally"
)

// Phrase is something that a story can say.
type Phrase struct {
	Section Section
	Pattern string // with PERSON, PHONE, STATUS, PRESENCE, PBX, GROUP, N, TEXT and LIST where the story has a word of its own
	Means   string // what the pattern does not say by itself
}

// Phrases is everything that a story can say.
func Phrases() []Phrase {
	return slices.Concat(givens(), teamsPhrases(), phonePhrases(), messagePhrases(), bridgePhrases(), messageThens(), thens(), finallys())
}

func givens() []Phrase {
	return []Phrase{
		{Given, "PERSON has phone PHONE on PBX", "a person of the tenant, and their phone; several phones are several lines"},
		{Given, "PERSON is signed in to Teams", "with the desktop client, Available"},
		{Given, "PERSON has picked PRESENCE in Teams", "and it is stored, whether or not they are signed in"},
		{Given, "phone PHONE was set to STATUS", "by hand, before the bridge came"},
		{Given, "a message on PBX holds N characters", "and not more, on that PBX"},
		{Given, "phone PHONE had the message: TEXT", "by hand, before the bridge came"},
	}
}

func teamsPhrases() []Phrase {
	return []Phrase{
		{When, "PERSON signs in to Teams", ""},
		{When, "PERSON closes the laptop", "all their Teams clients are gone, and what went on in them"},
		{When, "PERSON starts a call in Teams", ""},
		{When, "PERSON ends the call in Teams", ""},
		{When, "PERSON joins a meeting in Teams", ""},
		{When, "PERSON leaves the meeting in Teams", ""},
		{When, "PERSON starts presenting in Teams", ""},
		{When, "PERSON stops presenting in Teams", ""},
		{When, "PERSON picks PRESENCE in Teams", "by hand; it outranks every call"},
		{When, "PERSON resets their status in Teams", ""},
		{When, "PERSON turns out of office on", ""},
		{When, "PERSON turns out of office off", ""},
		{When, "Teams turns what it shows for PERSON into PRESENCE", "within what goes on, as it does during calls"},
	}
}

func phonePhrases() []Phrase {
	return []Phrase{
		{When, "phone PHONE rings", ""},
		{When, "phone PHONE stops ringing", "the caller gave up"},
		{When, "phone PHONE is in a call", "one that it began, or the ringing one answered; a second one overlaps with the first"},
		{When, "phone PHONE puts the call on hold", ""},
		{When, "phone PHONE takes the call up again", ""},
		{When, "phone PHONE ends the call", "one, where there are two"},
		{When, "phone PHONE is set to STATUS", "by hand"},
		{When, "another program sets phone PHONE to STATUS", ""},
		{When, "phone PHONE is unplugged", ""},
		{When, "phone PHONE is plugged in", ""},
		{When, "the PBX PBX goes away", "nobody answers there any more"},
		{When, "the PBX PBX comes back", ""},
		{When, "the PBX PBX is restarted", "it is away for five seconds; calls and what people chose outlast it"},
	}
}

func messagePhrases() []Phrase {
	return []Phrase{
		{When, "PERSON writes a message in Teams: TEXT", "a status message, as Teams' clients offer it"},
		{When, "PERSON writes a message in Teams that lasts N minutes: TEXT", ""},
		{When, "PERSON writes a message of N characters in Teams", ""},
		{When, "PERSON takes their message away in Teams", ""},
		{When, "phone PHONE gets a message: TEXT", "by hand; the status stays"},
		{When, "phone PHONE gets a message of N characters", ""},
		{When, "phone PHONE loses its message", "by hand"},
	}
}

func messageThens() []Phrase {
	return []Phrase{
		{Then, "Teams shows the message of PERSON: TEXT", ""},
		{Then, "Teams shows a message of PERSON that is cut to N characters", "the last of them is an ellipsis"},
		{Then, "Teams shows no message of PERSON", ""},
		{Then, "phone PHONE shows the message: TEXT", ""},
		{Then, "phone PHONE shows a message that is cut to N characters", ""},
		{Then, "phone PHONE shows no message", ""},
		{Finally, "the bridge wrote no message to Teams for PERSON", ""},
		{Finally, "the bridge wrote no message to phone PHONE", ""},
	}
}

func bridgePhrases() []Phrase {
	return []Phrase{
		{When, "the bridge is killed", "at once: nothing is stored or sent any more"},
		{When, "the bridge starts", "on the records that it had"},
		{When, "the bridge starts without its records", "a lost data_dir"},
		{When, "PERSON opts out", "in both directions"},
		{When, "PERSON opts out of what Teams does to the phone", "in that direction alone"},
		{When, "PERSON opts out of what the phone does to Teams", ""},
		{When, "PERSON opts in again", ""},
		{When, "PERSON is put into the group GROUP", "of Entra; the policy groups says which there are"},
		{When, "PERSON is taken out of the group GROUP", ""},
		{When, "PERSON leaves the company", "and the tenant"},
		{When, "phone PHONE now belongs to PERSON", ""},
		{When, "nothing happens", "for a while: after says how long"},
	}
}

func thens() []Phrase {
	return []Phrase{
		{Then, "Teams shows PERSON as PRESENCE", ""},
		{Then, "phone PHONE shows STATUS", ""},
		{Then, "Teams holds a session of the bridge for PERSON", "it shows unless the person's own choice outranks it"},
		{Then, "Teams holds no session of the bridge for PERSON", ""},
		{Then, "the bridge takes PERSON's state in Teams for masked", "users get and users list say so"},
		{Then, "the bridge takes phone PHONE for overridden by hand", "users get and users list say so"},
		{Then, "the bridge stays away from phone PHONE", "because another program fights over it"},
		{Then, "explain says about PERSON: TEXT", "users explain, as of now"},
		{Then, "explain does not say about PERSON: TEXT", ""},
	}
}

func finallys() []Phrase {
	return []Phrase{
		{Finally, "Teams showed PERSON as LIST", "one after the other, and nothing else, from the first When on"},
		{Finally, "phone PHONE showed LIST", "the same for a phone's status"},
		{Finally, "Teams never showed PERSON as PRESENCE", ""},
		{Finally, "phone PHONE never showed STATUS", ""},
		{Finally, "the bridge wrote N times to Teams for PERSON", "renewals not counted"},
		{Finally, "the bridge wrote N times to phone PHONE", ""},
		{Finally, "the bridge wrote nothing to Teams for PERSON", ""},
		{Finally, "the bridge wrote nothing to phone PHONE", ""},
		{Finally, "nothing is kept about PERSON", "no record, and nothing in what explain reads"},
		{Finally, "nothing of the bridge is left", "no session in Teams, and every phone shows what its person chose"},
	}
}

// Presences are the words for what Teams shows, as Graph's availability and activity.
func Presences() map[string]string {
	return map[string]string{
		"Available":                      "Available/Available",
		"Busy":                           "Busy/Busy",
		"Busy (in a call)":               "Busy/InACall",
		"Busy (in a conference call)":    "Busy/InAConferenceCall",
		"Busy (in a meeting)":            "Busy/InAMeeting",
		"Do not disturb":                 "DoNotDisturb/DoNotDisturb",
		"Do not disturb (presenting)":    "DoNotDisturb/Presenting",
		"Away":                           "Away/Away",
		"Be right back":                  "BeRightBack/BeRightBack",
		"Offline":                        "Offline/Offline",
		"Offline (chosen by hand)":       "Offline/OffWork",
		"Available (out of office)":      "Available/OutOfOffice",
		"Away (out of office)":           "Away/OutOfOffice",
		"Out of office":                  "OutOfOffice/OutOfOffice",
		"Offline (out of office)":        "Offline/OutOfOffice",
		"Do not disturb (out of office)": "DoNotDisturb/OutOfOffice",
	}
}

// placeholders are the words of a pattern that stand for words of a story.
func placeholders() map[string]string {
	return map[string]string{
		"PERSON": `([A-Z][a-z]+)`, "PHONE": `([0-9]+)`, "PBX": `([a-z][a-z0-9-]*)`, "N": `([0-9]{1,6})`,
		"GROUP": `([A-Z][a-z]+(?: [a-z]+)*)`, "STATUS": `(.+)`, "PRESENCE": `(.+)`, "LIST": `(.+)`, "TEXT": `(.+)`,
	}
}

// compiled is a phrase that can be compared with a line.
type compiled struct {
	Phrase
	names []string // of the placeholders, in order
	re    *regexp.Regexp
}

var wordPattern = regexp.MustCompile(`[A-Z]+\b`)

func compile(p Phrase) compiled {
	c := compiled{Phrase: p}
	// "the PBX PBX": only the last of two is the placeholder.
	fixed, rest := "", p.Pattern
	if after, ok := strings.CutPrefix(rest, "the PBX "); ok {
		fixed, rest = "the PBX ", after
	}
	known := placeholders()
	expression := regexp.QuoteMeta(fixed) + wordPattern.ReplaceAllStringFunc(regexp.QuoteMeta(rest), func(word string) string {
		if re, ok := known[word]; ok {
			c.names = append(c.names, word)
			return re
		}
		return word
	})
	c.re = regexp.MustCompile("^" + expression + "$")
	return c
}

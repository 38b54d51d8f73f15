package scenario

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const good = `Scenario: a call
PBX: plain, versions
Policy: meetings
# said to the reader
Given Anna has phone 1001 on main
  And Anna is signed in to Teams
 When at 10:00 Anna starts a call in Teams
  And after 1m30s the PBX main goes away
 Then within 5s phone 1001 shows In a call
  And at 10:05:30 Teams shows Anna as Busy (in a call)
Finally Teams showed Anna as Available, Busy (in a call)
`

func TestParse(t *testing.T) {
	s, err := Parse("a.txt", strings.NewReader(good))
	require.NoError(t, err)
	require.Equal(t, "a call", s.Name)
	require.Equal(t, []string{"plain", "versions"}, s.Kinds)
	require.Equal(t, "meetings", s.Policy)
	require.Len(t, s.Steps, 7)
	require.Equal(t, Step{Line: 5, Section: Given, Text: "Given Anna has phone 1001 on main", Phrase: "PERSON has phone PHONE on PBX", Words: []string{"Anna", "1001", "main"}}, s.Steps[0])
	require.Equal(t, 10*time.Hour, s.Steps[2].At)
	require.Equal(t, Step{Line: 8, Section: When, Text: "And after 1m30s the PBX main goes away", Phrase: "the PBX PBX goes away", Words: []string{"main"}, After: 90 * time.Second}, s.Steps[3])
	require.Equal(t, 5*time.Second, s.Steps[4].Within)
	require.Equal(t, "In a call", s.Steps[4].Words[1])
	require.Equal(t, Then, s.Steps[5].Section)
	require.Equal(t, []string{"Available", "Busy (in a call)"}, List(s.Steps[6].Words[1]))

	s, err = Parse("a.txt", strings.NewReader("Scenario: x\nPBX: any\nGiven Anna has phone 1 on main\nWhen nothing happens\nThen phone 1 shows x\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"lines", "plain", "versions"}, s.Kinds, "any is what the endpoint may be like")
	require.Equal(t, "micollab", s.Policy)
}

// What is wrong is said with the file, the line, and what could stand there.
func TestParseErrors(t *testing.T) {
	head := "Scenario: x\nPBX: any\n"
	for text, says := range map[string]string{
		head + "Given Anna has a phone\n":                                       "a.txt:3: \"Anna has a phone\" is nothing that a Given can say; it can say:\n\tPERSON has phone PHONE on PBX",
		head + "When anna starts a call in Teams\n":                             "a.txt:3: \"anna starts",
		head + "When Anna sings\n":                                              "PERSON starts a call in Teams",
		head + "If Anna sings\n":                                                "a.txt:3: a line begins with Scenario:, PBX:, Policy:, Given, When, Then, Finally, And or #, not with \"If\"",
		head + "And Anna sings\n":                                               "a.txt:3: And comes after a line that it adds to",
		head + "Then phone 1 shows x\n":                                         "a.txt:3: Then comes after a When",
		head + "When nothing happens\nGiven Anna is signed in to Teams\n":       "a.txt:4: Given comes before the first When",
		head + "Finally nothing of the bridge is left\nWhen nothing happens\n":  "a.txt:4: Finally comes last",
		head + "When at 9:00 nothing happens\n":                                 "from 10:00 to 20:00",
		head + "When at noon nothing happens\n":                                 "write it like 10:15 or 10:15:30",
		head + "When at 10:30 nothing happens\nWhen at 10:15 nothing happens\n": "a.txt:4: at: 10:15 is before the step above",
		head + "When after a-while nothing happens\n":                           "write it like 500ms, 30s or 5m",
		head + "When after -5s nothing happens\n":                               "write it like 500ms, 30s or 5m",
		head + "When within 5s nothing happens\n":                               "only a Then may take a time",
		head + "Given at 10:15 Anna is signed in to Teams\n":                    "a Given has no time",
		head + "When nothing happens\nThen Teams shows Anna as Happy\n":         "\"Happy\" is nothing that Teams shows: write one of Available, ",
		head + "Finally Teams showed Anna as Available, Happy\n":                "\"Happy\" is nothing",
		"PBX: any\nWhen nothing happens\n":                                      "there is no line that begins with Scenario:",
		"Scenario: x\nWhen nothing happens\n":                                   "there is no line PBX: any",
		"Scenario: x\nScenario: y\n":                                            "a.txt:2: a second Scenario",
		"Scenario:\n":                                                           "a.txt:1: Scenario: wants a name",
		"Scenario: x\nPBX: isdn\n":                                              "there is no kind \"isdn\": write any, or some of versions (says who",
		"Scenario: x\nPBX: any\nPBX: any\n":                                     "a.txt:3: a second PBX",
		"Scenario: x\nPBX: any\nPolicy: none\n":                                 "write micollab (the preset), meetings",
		head + "When nothing happens\n":                                         "a story needs a Then or a Finally",
		head + strings.Repeat("x", maxLine+1):                                   "the line cannot be read",
		"":                                                                      "a.txt:1: there is no line that begins with Scenario:",
	} {
		_, err := Parse("a.txt", strings.NewReader(text))
		require.ErrorContains(t, err, says, text)
		var e *Error
		require.ErrorAs(t, err, &e, text)
		require.Equal(t, "a.txt", e.File)
		require.Positive(t, e.Line)
	}
	_, err := Parse("a.txt", strings.NewReader("x\ny\n"))
	require.ErrorContains(t, err, "a.txt:1: ")
	require.ErrorContains(t, err, "a.txt:2: ", "all that is wrong is said at once")
}

// Every phrase is in some story, or it is a word that nobody needs; and no line of a story could be meant in two ways.
func TestEveryPhraseIsUsed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	require.NoError(t, err)
	used := map[string]bool{}
	for _, file := range files {
		for _, st := range read(t, file).Steps {
			used[st.Phrase] = true
		}
	}
	for _, p := range Phrases() {
		require.True(t, used[p.Pattern], "no story says %q", p.Pattern)
	}
}

// The list in README.md names every story, with the name that the story has.
func TestReadmeListsEveryStory(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var listed []string
	for line := range strings.Lines(string(readme)) {
		if file, _, ok := strings.Cut(strings.TrimPrefix(line, "| ["), "](testdata/"); ok {
			listed = append(listed, file)
		}
	}
	var stories []string
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		stories = append(stories, name)
		require.Contains(t, string(readme), "| ["+name+"](testdata/"+name+".txt) | "+read(t, file).Name+" |", "README.md")
	}
	slices.Sort(listed)
	slices.Sort(stories)
	require.Equal(t, stories, listed)
}

func FuzzParse(f *testing.F) {
	f.Add(good)
	f.Add("Scenario: x\nPBX: any\nWhen at 10:00 after 5s nothing happens\nFinally the bridge wrote 3 times to phone 1\n")
	f.Add("And\nGiven\nThen within\n#\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("fuzz.txt", strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz.txt:") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if s.Name == "" || len(s.Kinds) == 0 || !slices.Contains(Policies(), s.Policy) {
			t.Fatalf("a story without what it needs: %+v", s)
		}
		for _, st := range s.Steps {
			if st.Phrase == "" || st.Line < 1 || st.At < 0 || st.After < 0 || st.Within < 0 {
				t.Fatalf("a step that cannot be: %+v", st)
			}
		}
	})
}

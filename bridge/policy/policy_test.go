package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"presencebridge/bridge/presence"
)

func ep(pbx, user string, l presence.Line, k presence.Kind) Endpoint {
	return Endpoint{ID: presence.EndpointID{PBX: pbx, User: user}, Line: l, Status: presence.Status{Name: string(k), Kind: k}}
}

func TestTowardsTeamsTheFirstRuleDecidesNotTheFirstEndpoint(t *testing.T) {
	p := Presets()["micollab"]
	dnd, call := ep("a", "1", presence.LineIdle, presence.KindDND), ep("b", "2", presence.LineInCall, presence.KindAvailable)
	for _, eps := range [][]Endpoint{{dnd, call}, {call, dnd}} {
		w := p.ForTeams(eps)
		assert.Equal(t, "Busy/InACall", w.Pair.String(), "the rule for calls comes first, whichever endpoint is listed first")
		assert.Equal(t, call.ID, w.From)
	}
	both := p.ForTeams([]Endpoint{ep("a", "1", presence.LineOnHold, presence.KindAvailable), call})
	assert.Equal(t, "a", both.From.PBX, "of two that match the same rule the first one is named")
	assert.True(t, p.ForTeams(nil).IsZero())
}

func TestRulesOfOnePBX(t *testing.T) {
	p, err := Parse([]byte(`
teams_to_pbx:
  - {when: {pbx: one, activity: InACall}, set: {status: Phone}}
  - {when: {activity: InACall}, set: {status: Busy}}
pbx_to_teams:
  - {when: {pbx: ONE, status: "on the phone"}, set: {presence: Busy/InACall}}
`))
	if err != nil {
		t.Fatal(err)
	}
	call := presence.ParsePairString("Busy/InACall")
	assert.Equal(t, "Phone", p.ForPBX("One", nil, TeamsState{Pair: call}).Status.Name)
	assert.Equal(t, "Busy", p.ForPBX("two", nil, TeamsState{Pair: call}).Status.Name)
	e := ep("one", "1", presence.LineIdle, presence.KindBusy)
	e.Status.Name = "On The Phone"
	assert.False(t, p.ForTeams([]Endpoint{e}).IsZero(), "names and PBXs are compared without regard to case")
	e.ID.PBX = "two"
	assert.True(t, p.ForTeams([]Endpoint{e}).IsZero())
	assert.True(t, p.SetsOnPBX("one", nil, presence.Status{Name: "phone"}))
	assert.False(t, p.SetsOnPBX("two", nil, presence.Status{Name: "phone"}))
}

func TestAStatusComesFromTheSitesCatalogue(t *testing.T) {
	site := Catalogue{{Name: "Here", Kind: presence.KindAvailable}, {Name: "ON A CALL", Kind: presence.KindBusy}, {Name: "Meeting", Kind: presence.KindBusy}}
	for name, tt := range map[string]struct {
		set  SetStatus
		site Catalogue
		want PBXWant
	}{
		"by name, in the site's spelling and kind": {
			SetStatus{Name: "on a call", Kind: presence.KindDND}, site, PBXWant{Status: site[1], Class: presence.ClassCall},
		},
		"by kind where there is no such name": {SetStatus{Name: "Talking", Kind: presence.KindBusy}, site, PBXWant{Status: site[1], Class: presence.ClassCall}},
		"by kind alone":                       {SetStatus{Kind: presence.KindBusy}, site, PBXWant{Status: site[1], Class: presence.ClassCall}},
		"neither: nothing, it would only be refused": {
			SetStatus{Name: "Talking", Kind: presence.KindDND}, site, PBXWant{},
		},
		"a name without kind":         {SetStatus{Name: "Talking"}, site, PBXWant{}},
		"the rule's class wins":       {SetStatus{Name: "Meeting", Class: presence.ClassDND}, site, PBXWant{Status: site[2], Class: presence.ClassDND}},
		"a catalogue not known yet":   {SetStatus{Name: "Talking"}, nil, PBXWant{Status: presence.Status{Name: "Talking"}, Class: presence.ClassCall}},
		"available is the least call": {SetStatus{Name: "Here"}, site, PBXWant{Status: site[0], Class: presence.ClassAway}},
	} {
		assert.Equal(t, tt.want, tt.set.resolve(tt.site), name)
	}
	assert.Equal(t, site[0], site.Default())
	assert.Equal(t, presence.Status{Name: "Available", Kind: presence.KindAvailable}, Catalogue{}.Default())
}

// R9: dnd > busy, call > away > available; out and custom are never written over.
func TestRanks(t *testing.T) {
	order := [][]presence.Kind{
		{presence.KindAvailable}, {presence.KindAway}, {presence.KindBusy}, {presence.KindDND},
		{presence.KindOut, presence.KindCustom, presence.KindUnknown, "invented"},
	}
	for i, lower := range order {
		for _, higher := range order[i+1:] {
			for _, l := range lower {
				for _, h := range higher {
					assert.Less(t, OfKind(l), OfKind(h), "%s, %s", l, h)
				}
			}
		}
	}
	for _, c := range allClasses {
		for _, k := range order[4] {
			assert.Less(t, OfClass(c), OfKind(k), "%s over %s", c, k)
		}
	}
	assert.Greater(t, OfClass(presence.ClassDND), OfClass(presence.ClassCall))
	assert.Equal(t, OfClass(presence.ClassCall), OfClass(presence.ClassBusy))
	assert.Greater(t, OfClass(presence.ClassCall), OfClass(presence.ClassAway))
	assert.Greater(t, OfClass(presence.ClassAway), OfKind(presence.KindAvailable))
	assert.Equal(t, RankNone, OfClass("invented"), "what nobody knows writes over nothing")
}

func TestRanksOfTeams(t *testing.T) {
	want := map[Rank][]string{
		RankNone:      {"Offline/Offline", "Offline/OffWork", "PresenceUnknown", "Sabbatical/OnTheMoon"},
		RankAvailable: {"Available", "Available/OutOfOffice", "AvailableIdle/Available", "Available/AvailableInactive"},
		RankAway:      {"Away", "Away/Inactive", "BeRightBack", "OutOfOffice"},
		RankBusy:      {"Busy", "Busy/InACall", "BusyIdle/Busy", "Busy/InAMeeting", "inACall/busy"},
		RankDND:       {"DoNotDisturb", "DoNotDisturb/Presenting", "Focusing", "presenting/doNotDisturb"},
	}
	for r, pairs := range want {
		for _, p := range pairs {
			assert.Equal(t, r, OfPair(presence.ParsePairString(p)), p)
		}
	}
}

// A rule's class follows from what it sets.
func TestClasses(t *testing.T) {
	for k, c := range map[presence.Kind]presence.Class{
		presence.KindBusy: presence.ClassCall, presence.KindDND: presence.ClassDND, presence.KindAway: presence.ClassAway,
		presence.KindOut: presence.ClassAway, presence.KindAvailable: presence.ClassAway, presence.KindCustom: presence.ClassCall,
		presence.KindUnknown: presence.ClassCall, "invented": presence.ClassCall,
	} {
		assert.Equal(t, c, ClassOfKind(k), k)
	}
	for p, c := range map[string]presence.Class{
		"Busy/InACall": presence.ClassCall, "Busy/InAConferenceCall": presence.ClassCall, "DoNotDisturb/Presenting": presence.ClassDND,
		"Away": presence.ClassAway, "Available": presence.ClassAway, "Busy/Busy": presence.ClassBusy, "DoNotDisturb": presence.ClassDND,
		"BeRightBack": presence.ClassAway, "Offline/OffWork": presence.ClassAway,
	} {
		assert.Equal(t, c, ClassOfPair(presence.ParsePairString(p)), p)
	}
}

func TestWantsCompare(t *testing.T) {
	a := PBXWant{Status: presence.Status{Name: "Busy"}}
	assert.True(t, a.Same(PBXWant{Status: presence.Status{Name: "BUSY"}, Class: presence.ClassDND}), "what a person sees is the same")
	assert.False(t, a.Same(PBXWant{}))
	assert.False(t, PBXWant{}.Same(a))
	assert.True(t, PBXWant{}.Same(PBXWant{}))
}

// drawPolicy makes any policy that Parse could have made.
func drawPolicy(t *rapid.T) Policy {
	lists := func(label string, from []string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(t, label)
	}
	var p Policy
	for range rapid.IntRange(0, 5).Draw(t, "teams rules") {
		p.TeamsToPBX = append(p.TeamsToPBX, TeamsRule{
			When: TeamsCondition{
				Availability: lists("availability", []string{"Busy", "DoNotDisturb", "Away"}),
				Activity:     lists("activity", []string{"InACall", "Presenting"}), PBX: lists("pbx", []string{"main", "two"}),
			},
			Set: SetStatus{
				Name: rapid.SampledFrom([]string{"In a call", "In a meeting", "nowhere"}).Draw(t, "name"),
				Kind: rapid.SampledFrom(allKinds).Draw(t, "kind"), Class: rapid.SampledFrom(append(allClasses, "")).Draw(t, "class"),
			},
		})
	}
	for range rapid.IntRange(0, 5).Draw(t, "pbx rules") {
		p.PBXToTeams = append(p.PBXToTeams, PBXRule{
			When: PBXCondition{
				Line:       rapid.SliceOfN(rapid.SampledFrom(allLines[1:]), 0, 2).Draw(t, "line"),
				StatusKind: rapid.SliceOfN(rapid.SampledFrom(allKinds[1:]), 0, 2).Draw(t, "status kind"),
				PBX:        lists("pbx", []string{"main", "two"}),
			},
			Set: SetPresence{Pair: rapid.SampledFrom(sessionPairs()).Draw(t, "pair"), Class: rapid.SampledFrom(allClasses).Draw(t, "class")},
		})
	}
	return p
}

// TestProperties: what is wanted is always something that the site offers, or that Graph takes, with a class; the
// first rule that matches alone decides; case does not matter; and SetsOnPBX and TeamsValues leave nothing out.
func TestProperties(t *testing.T) {
	site := siteCatalogues()["micollab"]
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		shown := presence.ParsePairString(rapid.SampledFrom(shownPairs).Draw(t, "shown"))
		w := p.ForPBX("main", site, TeamsState{Pair: shown})
		if !w.IsZero() && (!slices.Contains(site, w.Status) || w.Class == "" || !p.SetsOnPBX("main", site, w.Status)) {
			t.Fatalf("%+v is not on offer, has no class, or SetsOnPBX denies it", w)
		}
		lower := presence.Pair{Availability: strings.ToLower(shown.Availability), Activity: strings.ToUpper(shown.Activity)}
		if got := p.ForPBX("MAIN", site, TeamsState{Pair: lower}); got != w {
			t.Fatalf("case matters: %+v, %+v", got, w)
		}
		first := slices.IndexFunc(p.TeamsToPBX, func(r TeamsRule) bool { return r.When.matches("main", TeamsState{Pair: shown}) })
		if first >= 0 {
			cut := Policy{TeamsToPBX: p.TeamsToPBX[:first+1]}
			if cut.ForPBX("main", site, TeamsState{Pair: shown}) != w {
				t.Fatal("a rule behind the first that matches has a say")
			}
		} else if !w.IsZero() {
			t.Fatal("no rule matches, yet something is wanted")
		}
		eps := []Endpoint{
			ep("main", "1", rapid.SampledFrom(allLines).Draw(t, "l"), rapid.SampledFrom(allKinds).Draw(t, "k")),
			ep("two", "2", rapid.SampledFrom(allLines).Draw(t, "l"), rapid.SampledFrom(allKinds).Draw(t, "k")),
		}
		v := p.ForTeams(eps)
		if !v.IsZero() && (!slices.Contains(p.TeamsValues(), v.Pair) || v.Class == "" || v.From.PBX == "") {
			t.Fatalf("%+v is not in TeamsValues, has no class or no cause", v)
		}
		slices.Reverse(eps)
		if got := p.ForTeams(eps); got.Pair != v.Pair || got.Class != v.Class {
			t.Fatalf("the order of endpoints changes what is wanted: %+v, %+v", got, v)
		}
	})
}

// Presets hand out copies: nobody can change them for somebody else.
func TestPresetsAreSeparate(t *testing.T) {
	Presets()["sip"].TeamsToPBX[0].When.Activity[0] = "changed"
	assert.Equal(t, presence.InACall, Presets()["sip"].TeamsToPBX[0].When.Activity[0])
}

// An account without a policy has the presets of its PBXs' types, each PBX its own.
func TestTheDefaultFollowsTheTypes(t *testing.T) {
	call := TeamsState{Pair: presence.ParsePairString("Busy/InACall")}
	one := Default(map[string]string{"main": "sip"})
	assert.Equal(t, Presets()["sip"].TeamsToPBX, one.TeamsToPBX)
	assert.Equal(t, "sip", one.Preset)
	several := Default(map[string]string{"old": "3cx", "new": "micollab", "phones": "SIP", "other": "telegraph"})
	for pbx, status := range map[string]string{"old": "Away", "new": "In a call", "phones": "on-the-phone", "other": "In a call"} {
		assert.Equal(t, status, several.ForPBX(pbx, nil, call).Status.Name, pbx)
	}
	assert.True(t, several.ForPBX("stranger", nil, call).IsZero())
	assert.Empty(t, several.Check(Site{PBX: map[string]Catalogue{"old": nil, "new": nil, "phones": nil, "other": nil}}))
	assert.Equal(t, "Busy/InACall", several.ForTeams([]Endpoint{{ID: presence.EndpointID{PBX: "old"}, Line: presence.LineInCall}}).Pair.String())
	assert.Equal(t, "micollab", Default(nil).Preset)
}

func TestParseFile(t *testing.T) {
	for name, src := range map[string]string{
		"bare":             "\n\nteams_to_pbx:\n  - {set: {status: X}}\n",
		"under its key":    "# a comment\npolicy:\n\n  teams_to_pbx: [{set: {status: X}}]\n",
		"flow":             "# the policy\n\n\npolicy: {teams_to_pbx: [{set: {status: X}}]}\n",
		"with a mark":      "\ufeff\n\n\nteams_to_pbx: [{set: {status: X}}]\n",
		"a document begun": "---\npolicy:\n\n  teams_to_pbx: [{set: {status: X}}]\n",
	} {
		p, err := ParseFile([]byte(src))
		if assert.NoError(t, err, name) && assert.Len(t, p.TeamsToPBX, 1, name) {
			assert.Equal(t, 4, p.TeamsToPBX[0].Line, name)
		}
	}
	for _, src := range []string{"policy:\n  preset: none\n", "policy: [x]", "policy", "policies:\n  preset: sip\n", "policy: {preset: sip}\npreset: sip\n", "{"} {
		_, err := ParseFile([]byte(src))
		assert.Error(t, err, src)
	}
	p, err := ParseFile([]byte("policy:\n"))
	assert.NoError(t, err)
	assert.NotNil(t, p)
	assert.Equal(t, "no rule", p.Where("f", 0, ""))
}

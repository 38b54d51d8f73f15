package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"presencebridge/bridge/presence"
)

// shownPairs is every Teams pair of Graph's documentation, old list and new (learn:api/resources/presence), and
// words that nobody has documented yet.
var shownPairs = []string{
	"Available/Available", "Available/OutOfOffice", "Available/AvailableInactive", "AvailableIdle/Available", "Busy/Busy",
	"Busy/InACall", "Busy/InAConferenceCall", "Busy/InAMeeting", "BusyIdle/Busy", "BusyIdle/InACall", "DoNotDisturb/DoNotDisturb",
	"DoNotDisturb/Presenting", "DoNotDisturb/Focusing", "DoNotDisturb/UrgentInterruptionsOnly", "Focusing/Focusing", "Away/Away",
	"Away/Inactive", "BeRightBack/BeRightBack", "Offline/Offline", "Offline/OffWork", "OutOfOffice/OutOfOffice",
	"inACall/busy", "inAMeeting/busy", "presenting/doNotDisturb", "PresenceUnknown/PresenceUnknown", "Sabbatical/OnTheMoon",
}

var (
	allLines = []presence.Line{
		presence.LineUnknown, presence.LineIdle, presence.LineRinging, presence.LineInCall, presence.LineOnHold, presence.LineOffline,
	}
	allKinds = []presence.Kind{
		presence.KindUnknown, presence.KindAvailable, presence.KindBusy, presence.KindDND, presence.KindAway, presence.KindOut,
		presence.KindCustom,
	}
	allClasses = []presence.Class{presence.ClassCall, presence.ClassDND, presence.ClassBusy, presence.ClassAway}
)

// siteCatalogues are what a PBX of the preset's sort offers.
func siteCatalogues() map[string]Catalogue {
	return map[string]Catalogue{
		"micollab": {
			{Name: "Available", Kind: presence.KindAvailable}, {Name: "In a meeting", Kind: presence.KindBusy},
			{Name: "In a call", Kind: presence.KindBusy}, {Name: "Do Not Disturb", Kind: presence.KindDND},
			{Name: "Gone for the day", Kind: presence.KindOut},
		},
		"3cx": {
			{Name: "Available", Kind: presence.KindAvailable}, {Name: "Away", Kind: presence.KindAway},
			{Name: "Out of office", Kind: presence.KindDND}, {Name: "Custom 1", Kind: presence.KindCustom},
			{Name: "Custom 2", Kind: presence.KindCustom},
		},
		"sip": {
			{Name: "available", Kind: presence.KindAvailable}, {Name: "on-the-phone", Kind: presence.KindBusy},
			{Name: "meeting", Kind: presence.KindBusy}, {Name: "busy", Kind: presence.KindDND}, {Name: "away", Kind: presence.KindAway},
		},
	}
}

// TestTruthTable compares everything that the presets say with testdata/truth.txt. With the environment variable
// POLICY_UPDATE set it writes the file anew: read the difference.
func TestTruthTable(t *testing.T) {
	var b strings.Builder
	for _, name := range presetNames() {
		p := Presets()[name]
		fmt.Fprintf(&b, "preset %s, teams to pbx\n", name)
		for _, s := range shownPairs {
			w := p.ForPBX("main", siteCatalogues()[name], TeamsState{Pair: presence.ParsePairString(s)})
			fmt.Fprintf(&b, "  %-38s %s\n", s, wantText(w.Status.String(), w.IsZero(), w.Class))
		}
		fmt.Fprintf(&b, "preset %s, pbx to teams\n", name)
		for _, l := range allLines {
			for _, k := range allKinds {
				w := p.ForTeams([]Endpoint{{ID: presence.EndpointID{PBX: "main", User: "1"}, Line: l, Status: presence.Status{Name: "x", Kind: k}}})
				fmt.Fprintf(&b, "  %-8s %-10s %s\n", orUnknown(string(l)), orUnknown(string(k)), wantText(w.Pair.String(), w.IsZero(), w.Class))
			}
		}
	}
	everyKey(t, &b)
	file := filepath.Join("testdata", "truth.txt")
	if os.Getenv("POLICY_UPDATE") != "" {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, got := strings.Split(string(golden), "\n"), strings.Split(b.String(), "\n")
	for i := range max(len(want), len(got)) {
		if i >= len(want) || i >= len(got) || want[i] != got[i] {
			t.Fatalf("truth.txt line %d:\n got %q\nwant %q", i+1, lineAt(got, i), lineAt(want, i))
		}
	}
}

// everyKey adds what the example policy under deploy/, which uses every key, says to members of its groups.
func everyKey(t *testing.T, b *strings.Builder) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("..", "..", "deploy", "policy", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	account, err := ParseFile(src)
	if err != nil {
		t.Fatal(err)
	}
	site := append(siteCatalogues()["micollab"], presence.Status{Name: "Lunch", Kind: presence.KindAway})
	for _, who := range [][]string{nil, {"Sales"}, {"Reception"}, {"5b0c4c5e-0000-4000-8000-000000000001"}} {
		p := account.For(who, 0)
		fmt.Fprintf(b, "the example policy, of a member of %v, opted out of %s\n", who, p.OptOut)
		for _, s := range []string{"Available/Available", "Busy/InACall", "Busy/InAMeeting", "DoNotDisturb/DoNotDisturb", "DoNotDisturb/Presenting", "Offline/Offline"} {
			for _, out := range []presence.Absence{presence.AbsenceUnknown, presence.AbsenceNo, presence.AbsenceYes} {
				w := p.ForPBX("main", site, TeamsState{Pair: presence.ParsePairString(s), OutOfOffice: out, Message: "Hello"})
				fmt.Fprintf(b, "  %-26s out of office %-8s %-24s %q\n", s, orUnknown(string(out)), wantText(w.Status.String(), w.IsZero(), w.Class), w.Message)
			}
		}
		for _, l := range allLines {
			for _, st := range append(site, presence.Status{}) {
				w := p.ForTeams([]Endpoint{{ID: presence.EndpointID{PBX: "main", User: "1"}, Line: l, Status: st, Message: "Hello"}})
				fmt.Fprintf(b, "  %-8s %-18s %-32s %s %s %q\n", orUnknown(string(l)), st, wantText(w.Pair.String(), w.IsZero(), w.Class), orNone(string(w.Method)), w.For, w.Message)
			}
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func wantText(value string, none bool, class presence.Class) string {
	if none {
		return "-"
	}
	return value + " (" + string(class) + ")"
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(end)"
}

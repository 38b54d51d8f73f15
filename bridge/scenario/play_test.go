package scenario

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge"
	"presencebridge/bridge/explain"
	"presencebridge/bridge/presence"
	"presencebridge/graph/graphsim"
)

func TestMain(m *testing.M) {
	if raced {
		runtime.GOMAXPROCS(1)
	}
	os.Exit(m.Run())
}

// TestScenarios plays every story on every kind of PBX that it is about.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		s := read(t, file)
		for _, kind := range s.Kinds {
			if testing.Short() && kind == "sip" && len(s.Kinds) > 1 {
				continue // hours of a SIP connection's schedule take long under the race detector: those about SIP alone are played
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+kind, func(t *testing.T) {
				t.Parallel()
				if raced && kind == "sip" {
					t.Skip("crashes the race detector, see race_test.go")
				}
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, s, kind)
					defer w.close()
					w.play()
				})
			})
		}
	}
}

func read(t *testing.T, file string) Scenario {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	s, err := Parse(file, bufio.NewReader(f))
	require.NoError(t, err)
	return s
}

// afterwards is how long a story goes on after its last step, before Finally.
const afterwards = 2 * time.Minute

// play carries the steps out. It fails with the timeline.
func (w *world) play() {
	begun, over := false, false
	for i := range w.s.Steps {
		if st := &w.s.Steps[i]; st.Phrase == "a message on PBX holds N characters" {
			n, err := strconv.Atoi(st.Words[1])
			require.NoError(w.t, err)
			w.longest[st.Words[0]] = n
		}
	}
	for _, st := range w.s.Steps {
		if st.Section != Given && !begun {
			w.begin()
			begun = true
		}
		if st.Section == Finally && !over {
			time.Sleep(afterwards)
			synctest.Wait()
			over = true
		}
		if st.At > 0 {
			sleepUntil(st.At)
		}
		if time.Sleep(st.After); st.At > 0 || st.After > 0 {
			synctest.Wait() // what is due by now comes first, and not by chance
		}
		w.note("%s:%d: %s", w.s.File, st.Line, st.Text)
		if err := w.step(&st); err != nil {
			w.fail(&st, err)
		}
	}
}

// begin starts the bridge, waits until it has seen everybody, and forgets what was before.
func (w *world) begin() {
	w.start()
	if err := w.eventually(3*time.Minute, w.atRest); err != nil {
		w.fail(&Step{Line: 1, Text: "the bridge starts"}, err)
	}
	sleepUntil(subscribeAt)
	w.subscribe()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.from = time.Now()
	clear(w.shown)
	clear(w.writes)
	for who, p := range w.people {
		w.shown[p.id] = []string{w.graph.Shown(p.id).String()}
		for _, ph := range p.phones {
			shown, err := w.pbxs[ph.pbx].Status(ph.extension)
			require.NoError(w.t, err, who)
			w.shown["phone "+ph.extension] = []string{shown}
		}
	}
}

// atRest tells whether the bridge has seen both sides of everybody, and nothing is under way.
func (w *world) atRest() error {
	for _, v := range w.life.engine.Views("", 0) {
		if v.Record.Teams.Shown.IsUnknown() && !v.Member.Excluded {
			return fmt.Errorf("%s was not seen in Teams", v.Member.Name)
		}
		for i := range v.Record.Endpoints {
			if !v.Record.Endpoints[i].Seen {
				return fmt.Errorf("phone %s was not seen", v.Record.Endpoints[i].ID.User)
			}
		}
		if !v.Record.Settled() {
			return fmt.Errorf("%s: something is under way", v.Member.Name)
		}
	}
	return nil
}

// eventually looks until there is no error, for a time at most.
func (w *world) eventually(within time.Duration, look func() error) error {
	until := time.Now().Add(within)
	for {
		synctest.Wait()
		err := look()
		if err == nil || !time.Now().Before(until) {
			return err
		}
		time.Sleep(min(50*time.Millisecond, time.Until(until)))
	}
}

// fail ends the story with what happened on both sides, and with what the bridge says about it.
func (w *world) fail(st *Step, err error) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: %s\n\t%v\n\non a PBX of the kind %q, this is what happened:\n", w.s.File, st.Line, st.Text, err, w.kind)
	slices.SortStableFunc(w.timeline, func(a, b event) int { return a.at.Compare(b.at) })
	for _, e := range w.timeline {
		if e.at.After(w.from.Add(-time.Minute)) {
			fmt.Fprintf(&b, "  %s  %s\n", e.at.UTC().Format("15:04:05.000"), e.text)
		}
	}
	w.mu.Unlock()
	for who := range w.people {
		fmt.Fprintf(&b, "\nwhat explain says about %s:\n%s", who, w.explain(who))
	}
	w.t.Fatal(b.String())
}

// step carries one step out, or looks.
func (w *world) step(st *Step) error {
	switch st.Section {
	case Given, When:
		return cmp.Or(w.inTeams(st), w.onThePhone(st), w.write(st), w.onTheBridge(st))
	case Then:
		return w.eventually(st.Within, func() error { return w.look(st) })
	case Finally:
		return w.finally(st)
	}
	return errors.New("no such section")
}

// pair is a presence in the simulator's words.
func pair(words string) graphsim.Pair {
	p := presence.ParsePairString(Presences()[words])
	return graphsim.Pair{Availability: p.Availability, Activity: p.Activity}
}

// inTeams is what people do there.
func (w *world) inTeams(st *Step) error {
	if !strings.Contains(st.Phrase, "PERSON") {
		return nil
	}
	simple := map[string]func(string) error{
		"PERSON is signed in to Teams": w.graph.SignIn, "PERSON signs in to Teams": w.graph.SignIn, "PERSON closes the laptop": w.graph.SignOut,
		"PERSON starts a call in Teams": w.graph.StartCall, "PERSON ends the call in Teams": w.graph.EndCall,
		"PERSON joins a meeting in Teams": w.graph.StartMeeting, "PERSON leaves the meeting in Teams": w.graph.EndMeeting,
		"PERSON starts presenting in Teams": w.graph.StartPresenting, "PERSON stops presenting in Teams": w.graph.StopPresenting,
		"PERSON resets their status in Teams": w.graph.ClearPreferred,
		"PERSON turns out of office on":       func(id string) error { return w.graph.SetOutOfOffice(id, true, "away") },
		"PERSON turns out of office off":      func(id string) error { return w.graph.SetOutOfOffice(id, false, "") },
	}
	if do := simple[st.Phrase]; do != nil {
		return do(w.person(st.Words[0]).id)
	}
	switch st.Phrase {
	case "PERSON picks PRESENCE in Teams", "PERSON has picked PRESENCE in Teams":
		return w.graph.SetPreferred(w.person(st.Words[0]).id, pair(st.Words[1]), 0)
	case "Teams turns what it shows for PERSON into PRESENCE":
		return w.graph.SetClient(w.person(st.Words[0]).id, pair(st.Words[1]))
	}
	return nil
}

// onThePhone is what people do there, and what happens to the PBX.
func (w *world) onThePhone(st *Step) error {
	switch st.Phrase {
	case "the PBX PBX goes away":
		w.pbxs[st.Words[0]].Down()
		return nil
	case "the PBX PBX comes back":
		return w.pbxs[st.Words[0]].Up()
	case "the PBX PBX is restarted":
		return w.pbxs[st.Words[0]].restart()
	case "phone PHONE was set to STATUS", "phone PHONE is set to STATUS":
		sim, ph := w.phone(st.Words[0])
		return sim.Pick(ph.extension, w.status(st.Words[1]))
	case "another program sets phone PHONE to STATUS":
		sim, ph := w.phone(st.Words[0])
		return sim.WriteAs("another program", ph.extension, w.status(st.Words[1]))
	}
	if !strings.HasPrefix(st.Phrase, "phone PHONE ") || strings.Contains(st.Phrase, "PERSON") {
		return nil
	}
	sim, ph := w.phone(st.Words[0])
	if strings.Contains(st.Phrase, "message") {
		return nil // see write
	}
	do := map[string]func(string) error{
		"phone PHONE rings": sim.Ring, "phone PHONE stops ringing": sim.StopRinging, "phone PHONE is in a call": sim.StartCall,
		"phone PHONE puts the call on hold": sim.Hold, "phone PHONE takes the call up again": sim.Resume, "phone PHONE ends the call": sim.EndCall,
		"phone PHONE is unplugged": sim.GoOffline, "phone PHONE is plugged in": sim.GoOnline,
	}[st.Phrase]
	if do == nil {
		return fmt.Errorf("%q is known but cannot be played", st.Phrase)
	}
	return do(ph.extension)
}

// onTheBridge is what happens to the bridge and its directory.
func (w *world) onTheBridge(st *Step) error {
	switch st.Phrase {
	case "the bridge is killed":
		w.kill()
	case "the bridge starts":
		w.start()
	case "the bridge starts without its records":
		w.store = newStore()
		w.start()
	case "PERSON opts out":
		w.person(st.Words[0]).out = presence.BothDirections
		w.setMembers()
	case "PERSON opts out of what Teams does to the phone":
		w.person(st.Words[0]).out = presence.TeamsToPBX
		w.setMembers()
	case "PERSON opts out of what the phone does to Teams":
		w.person(st.Words[0]).out = presence.PBXToTeams
		w.setMembers()
	case "PERSON opts in again":
		w.person(st.Words[0]).out = 0
		w.setMembers()
	case "PERSON is put into the group GROUP":
		p := w.person(st.Words[0])
		p.groups = append(slices.Clone(p.groups), st.Words[1])
		w.setMembers()
	case "PERSON is taken out of the group GROUP":
		p := w.person(st.Words[0])
		p.groups = slices.DeleteFunc(slices.Clone(p.groups), func(g string) bool { return g == st.Words[1] })
		w.setMembers()
	case "PERSON leaves the company":
		p := w.person(st.Words[0])
		p.gone = true
		if err := w.graph.RemoveUser(p.id); err != nil {
			return err
		}
		w.setMembers()
	case "phone PHONE now belongs to PERSON":
		w.move(st.Words[0], st.Words[1])
		w.setMembers()
	}
	return nil
}

func (w *world) setMembers() {
	if w.life != nil {
		w.life.engine.SetMembers(w.life.ctx, w.members())
	}
}

// move gives a phone to somebody else.
func (w *world) move(extension, to string) {
	_, ph := w.phone(extension)
	for _, p := range w.people {
		p.phones = slices.DeleteFunc(p.phones, func(x phone) bool { return x == ph })
	}
	p := w.person(to)
	p.phones = append(p.phones, ph)
}

// record is what the bridge knows of somebody.
func (w *world) record(who string) bridge.Record {
	if w.life == nil {
		return bridge.Record{}
	}
	v, _ := w.life.engine.Find(w.person(who).id)
	return v.Record
}

// explain is what users explain says.
func (w *world) explain(who string) string {
	p := w.person(who)
	rules := w.policy()
	in := explain.Input{
		Now: time.Now(), Since: w.from, Name: who, Account: "contoso", History: 24 * time.Hour, Excluded: rules.For(p.groups, p.out).OptOut == presence.BothDirections, Labels: map[string]string{},
		Coverage: []string{"pushed"}, Decisions: w.told(p.id),
	}
	rec := w.record(who)
	in.States = rec.States()
	for _, ph := range p.phones {
		in.Labels[bridge.EndpointSideName(ph.id())] = "phone " + ph.extension + " on " + ph.pbx
	}
	return explain.Explain(in).Text
}

func (w *world) told(id string) []bridge.Decision {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.decisions[id])
}

// look is one look of a Then.
func (w *world) look(st *Step) error {
	switch st.Phrase {
	case "Teams shows PERSON as PRESENCE":
		return expect("Teams shows", w.graph.Shown(w.person(st.Words[0]).id).String(), Presences()[st.Words[1]])
	case "phone PHONE shows STATUS":
		sim, ph := w.phone(st.Words[0])
		shown, err := sim.Status(ph.extension)
		if err != nil {
			return err
		}
		return expect("the phone shows", shown, w.status(st.Words[1]))
	case "Teams holds a session of the bridge for PERSON", "Teams holds no session of the bridge for PERSON":
		session, held := w.graph.AppSession(w.person(st.Words[0]).id)
		if held != strings.Contains(st.Phrase, "holds a session") {
			return fmt.Errorf("held: %v (%v)", held, session)
		}
		return nil
	case "the bridge takes PERSON's state in Teams for masked":
		if rec := w.record(st.Words[0]); rec.Teams.Assertion == nil || rec.Teams.Assertion.MaskedSince.IsZero() {
			return errors.New("it does not")
		}
		return nil
	case "the bridge takes phone PHONE for overridden by hand":
		return w.endpoint(st.Words[0], func(ep *bridge.EndpointSide) bool { return ep.Override != nil })
	case "the bridge stays away from phone PHONE":
		return w.endpoint(st.Words[0], (*bridge.EndpointSide).Contested)
	case "Teams shows the message of PERSON: TEXT", "Teams shows no message of PERSON", "Teams shows a message of PERSON that is cut to N characters",
		"phone PHONE shows the message: TEXT", "phone PHONE shows no message", "phone PHONE shows a message that is cut to N characters":
		return w.lookAtMessage(st)
	case "explain says about PERSON: TEXT":
		if text := w.explain(st.Words[0]); !strings.Contains(text, st.Words[1]) {
			return errors.New("it does not")
		}
		return nil
	case "explain does not say about PERSON: TEXT":
		if text := w.explain(st.Words[0]); strings.Contains(text, st.Words[1]) {
			return errors.New("it does")
		}
		return nil
	}
	return fmt.Errorf("%q is known but cannot be played", st.Phrase)
}

func expect(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s %q, not %q", what, got, want)
	}
	return nil
}

// endpoint looks whether something is so of a phone.
func (w *world) endpoint(extension string, is func(*bridge.EndpointSide) bool) error {
	_, ph := w.phone(extension)
	for who := range w.people {
		rec := w.record(who)
		if ep := rec.Endpoint(ph.id()); ep != nil && is(ep) {
			return nil
		}
	}
	return errors.New("it does not")
}

// finally looks at what the simulators have seen all along.
func (w *world) finally(st *Step) error {
	switch st.Phrase {
	case "Teams showed PERSON as LIST", "phone PHONE showed LIST":
		side, want := w.sideAndList(st)
		return expect("one after the other it showed", strings.Join(w.showed(side), ", "), strings.Join(want, ", "))
	case "Teams never showed PERSON as PRESENCE", "phone PHONE never showed STATUS":
		side, never := w.sideAndList(st)
		if got := w.showed(side); slices.Contains(got, never[0]) {
			return fmt.Errorf("one after the other it showed %q", strings.Join(got, ", "))
		}
		return nil
	case "the bridge wrote N times to Teams for PERSON":
		return w.wroteTimes(w.person(st.Words[1]).id, st.Words[0])
	case "the bridge wrote N times to phone PHONE":
		return w.wroteTimes("phone "+st.Words[1], st.Words[0])
	case "the bridge wrote nothing to Teams for PERSON":
		return w.wroteTimes(w.person(st.Words[0]).id, "0")
	case "the bridge wrote nothing to phone PHONE":
		return w.wroteTimes("phone "+st.Words[0], "0")
	case "the bridge wrote no message to Teams for PERSON":
		return w.wroteTimes("message of "+w.person(st.Words[0]).id, "0")
	case "the bridge wrote no message to phone PHONE":
		return w.wroteTimes("message on phone "+st.Words[0], "0")
	case "nothing is kept about PERSON":
		return w.nothingKept(st.Words[0])
	case "nothing of the bridge is left":
		return w.nothingLeft()
	}
	return fmt.Errorf("%q is known but cannot be played", st.Phrase)
}

// sideAndList is the side that a step is about, and the states that it names.
func (w *world) sideAndList(st *Step) (side string, states []string) {
	states = List(st.Words[1])
	if !strings.Contains(st.Phrase, "Teams") {
		for i := range states {
			states[i] = w.status(states[i])
		}
		return "phone " + st.Words[0], states
	}
	for i := range states {
		states[i] = Presences()[states[i]]
	}
	return w.person(st.Words[0]).id, states
}

func (w *world) showed(side string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Compact(slices.Clone(w.shown[side]))
}

func (w *world) wroteTimes(side, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writes[side] != n {
		return fmt.Errorf("it wrote %d times, not %d", w.writes[side], n)
	}
	return nil
}

// nothingKept looks for anything that says how somebody looked.
func (w *world) nothingKept(who string) error {
	p := w.person(who)
	rec := w.record(who)
	switch {
	case w.store.has(p.id) && (p.gone || !w.store.empty(p.id)):
		return fmt.Errorf("there is a record: %s", w.store.records[p.id])
	case !rec.Idle() || !rec.Teams.Shown.IsZero():
		return errors.New("there is a record in memory")
	case len(rec.Endpoints) > 0 && p.gone:
		return errors.New("there are endpoints in memory")
	}
	return nil
}

// nothingLeft looks for anything of the bridge's on both sides.
func (w *world) nothingLeft() error {
	for who, p := range w.people {
		if session, held := w.graph.AppSession(p.id); held {
			return fmt.Errorf("Teams holds a session for %s: %v", who, session.Pair)
		}
		for _, ph := range p.phones {
			shown, err := w.pbxs[ph.pbx].Status(ph.extension)
			if err != nil {
				return err
			}
			chosen, err := w.pbxs[ph.pbx].Chosen(ph.extension)
			if err != nil {
				return err
			}
			if err := expect("phone "+ph.extension+" shows", shown, chosen); err != nil {
				return err
			}
		}
	}
	return nil
}

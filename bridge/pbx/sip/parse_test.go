package sip

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/presence"
)

const prologue = `<?xml version="1.0" encoding="UTF-8"?><presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:x="urn:example:unknown" entity="sip:1001@example.com">`

func pidf(parts ...string) string { return prologue + strings.Join(parts, "") + "</presence>" }

func tuple(id, basic, more string) string {
	return `<tuple id="` + id + `"><status><basic>` + basic + `</basic></status>` + more + `</tuple>`
}

func personOf(id, activities, more string) string {
	return `<dm:person id="` + id + `"><rpid:activities>` + activities + `</rpid:activities>` + more + `</dm:person>`
}

func TestPIDF(t *testing.T) {
	st := func(name string, kind presence.Kind) presence.Status { return presence.Status{Name: name, Kind: kind} }
	for name, c := range map[string]struct {
		doc  string
		want presenceView
	}{
		"reachable, nothing chosen": {pidf(tuple("t", "open", "")), presenceView{status: st("available", presence.KindAvailable), open: true}},
		"closed":                    {pidf(tuple("t", "closed", "")), presenceView{closed: true}},
		"closed, and chosen":        {pidf(tuple("t", "closed", ""), personOf("p", "<rpid:away/>", "")), presenceView{status: st("away", presence.KindAway), closed: true}},
		"nothing in it":             {pidf(), presenceView{}},
		"an activity":               {pidf(personOf("p", "<rpid:meeting/>", "")), presenceView{status: st("meeting", presence.KindBusy)}},
		"do not disturb, by a note of the activities": {
			pidf(personOf("p", "<rpid:note>Do Not Disturb</rpid:note><rpid:busy/>", "")), presenceView{status: st("busy", presence.KindDND)},
		},
		"do not disturb, by the person's note": {pidf(personOf("p", "<rpid:busy/>", "<dm:note>DND</dm:note>")), presenceView{status: st("busy", presence.KindDND)}},
		"do not disturb, by the tuple's note": {
			pidf(tuple("t", "open", "<note>Do not disturb until noon</note>"), personOf("p", "<rpid:busy/>", "")),
			presenceView{status: st("busy", presence.KindDND), open: true, message: "Do not disturb until noon"},
		},
		"busy alone":      {pidf(personOf("p", "<rpid:busy/>", "<dm:note>In the lab</dm:note>")), presenceView{status: st("busy-without-note", presence.KindBusy), message: "In the lab"}},
		"the weightiest":  {pidf(personOf("p", "<rpid:away/><rpid:on-the-phone/>", "")), presenceView{status: st("on-the-phone", presence.KindBusy), onPhone: true}},
		"an extension's":  {pidf(personOf("p", "<x:juggling/>", "")), presenceView{status: st("juggling", presence.KindCustom)}},
		"unknown":         {pidf(tuple("t", "open", ""), personOf("p", "<rpid:unknown/>", "")), presenceView{status: st("available", presence.KindAvailable), open: true}},
		"foreign parts":   {pidf(`<x:tuple id="a"><x:status><x:basic>open</x:basic></x:status></x:tuple>`, tuple("t", "closed", "")), presenceView{closed: true}},
		"ours alone":      {pidf(tuple("prbridge-1", "open", ""), personOf("prbridge-1p", "<rpid:meeting/>", "")), presenceView{own: true}},
		"ours just ended": {pidf(tuple("prbridge-1", "closed", ""), tuple("t", "open", "")), presenceView{status: st("available", presence.KindAvailable), open: true}},
		"ours beside theirs": {
			pidf(tuple("prbridge-1", "open", "<note>x</note>"), personOf("prbridge-1p", "<rpid:meeting/>", ""), tuple("t", "open", ""), personOf("p", "<rpid:meal/>", "")),
			presenceView{status: st("meal", presence.KindAway), open: true, own: true},
		},
		"in the tuple, as drafts had it": {
			pidf(tuple("t", "open", `<rpid:activities><rpid:on-the-phone/></rpid:activities>`)), presenceView{status: st("on-the-phone", presence.KindBusy), open: true, onPhone: true},
		},
		"Latin 1": {strings.Replace(pidf(personOf("p", "<rpid:busy/>", "<dm:note>nicht st\xf6ren</dm:note>")), "UTF-8", "ISO-8859-1", 1), presenceView{status: st("busy", presence.KindDND)}},
	} {
		got, err := parsePIDF([]byte(c.doc))
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
}

// Every status that can be written is read back as itself, once it is somebody else's.
func TestOwnDocumentReadsBack(t *testing.T) {
	for _, a := range activities() {
		body := document{entity: "sip:1001@example.com", id: ownPrefix + "1", act: a, message: `<&"`}.encode()
		v, err := parsePIDF(body)
		require.NoError(t, err)
		require.Equal(t, presenceView{own: true}, v, "ours does not count")
		v, err = parsePIDF([]byte(strings.ReplaceAll(string(body), ownPrefix, "other-")))
		require.NoError(t, err)
		require.Equal(t, a.status, v.status)
		require.Equal(t, `<&"`, v.message)
		require.Less(t, len(body), 700, "over UDP there is little room")
	}
	require.NotEqual(t, (&Client{cfg: Config{Account: "a", Name: "b"}}).ownID(), (&Client{cfg: Config{Account: "a", Name: "c"}}).ownID())
}

func TestDialogInfo(t *testing.T) {
	doc := func(version int, state string, dialogs ...string) string {
		return fmt.Sprintf(`<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="%d" state="%s" entity="sip:1@e">%s</dialog-info>`, version, state, strings.Join(dialogs, ""))
	}
	call := func(id, direction, state, more string) string {
		return fmt.Sprintf(`<dialog id="%s" direction="%s"><state>%s</state>%s</dialog>`, id, direction, state, more)
	}
	held := `<local><target uri="sip:1@e"><param pname="+sip.rendering" pval="no"/></target></local>`
	var c calls
	require.Equal(t, presence.LineUnknown, c.line())
	for _, step := range []struct {
		doc  string
		gap  bool
		line presence.Line
	}{
		{doc(3, "partial", call("a", "recipient", "confirmed", "")), true, presence.LineUnknown}, // nothing full came before
		{doc(5, "full"), false, presence.LineIdle},
		{doc(6, "partial", call("a", "recipient", "early", "")), false, presence.LineRinging},
		{doc(6, "partial", call("a", "recipient", "terminated", "")), false, presence.LineRinging}, // repeated
		{doc(7, "partial", call("a", "recipient", "confirmed", "")), false, presence.LineInCall},
		{doc(8, "partial", call("a", "recipient", "confirmed", held)), false, presence.LineOnHold},
		{doc(9, "partial", call("b", "recipient", "trying", "")), false, presence.LineOnHold},
		{doc(10, "partial", call("b", "recipient", "confirmed", "")), false, presence.LineInCall},
		{doc(12, "partial", call("b", "recipient", "terminated", "")), true, presence.LineInCall}, // 11 is missing
		{doc(12, "full", call("a", "recipient", "confirmed", held)), false, presence.LineOnHold},
		{doc(11, "full"), false, presence.LineOnHold}, // older
		{doc(13, "partial", call("a", "recipient", "terminated", "")), false, presence.LineIdle},
		{doc(14, "partial", call("c", "initiator", "proceeding", "")), false, presence.LineInCall}, // dialling
		{doc(15, "full", call("c", "", "early", "")), false, presence.LineRinging},
	} {
		info, err := parseDialogInfo([]byte(step.doc))
		require.NoError(t, err)
		require.Equal(t, step.gap, c.fold(info), step.doc)
		require.Equal(t, step.line, c.line(), step.doc)
	}
}

func TestLineFromBoth(t *testing.T) {
	view := func(open, closed, onPhone bool) presenceView {
		return presenceView{open: open, closed: closed, onPhone: onPhone}
	}
	idle := calls{known: true, synced: true}
	talking := calls{known: true, dialogs: map[string]dialog{"a": {state: "confirmed"}}}
	for _, c := range []struct {
		calls     calls
		view      presenceView
		hasDialog bool
		want      presence.Line
	}{
		{calls{}, presenceView{}, true, presence.LineUnknown},
		{calls{}, view(true, false, false), true, presence.LineUnknown}, // an empty notification is unknown
		{idle, presenceView{}, true, presence.LineIdle},
		{idle, view(false, true, false), true, presence.LineOffline},
		{talking, view(false, true, false), true, presence.LineInCall},
		{idle, view(true, false, true), true, presence.LineIdle}, // on-the-phone is a status where calls are reported
		{calls{}, view(true, false, true), false, presence.LineInCall},
		{calls{}, view(true, false, false), false, presence.LineIdle},
		{calls{}, view(false, true, false), false, presence.LineOffline},
	} {
		e := endpoint{calls: c.calls, presence: c.view, hasDialog: c.hasDialog}
		require.Equal(t, c.want, e.line(), "%+v", c)
	}
}

func TestList(t *testing.T) {
	const kind = `multipart/related;type="application/rlmi+xml";start="<r@x>";boundary="b"`
	inner := "--i\r\nContent-ID: <r2@x>\r\nContent-Type: application/rlmi+xml\r\n\r\n<list uri='sip:in@e' version='1' fullState='true'><resource uri='sip:3@e'/></list>\r\n--i--\r\n"
	body := "--b\r\nContent-ID: <d1@x>\r\nContent-Type: application/pidf+xml;charset=UTF-8\r\n\r\n" + pidf(tuple("t", "open", "")) +
		"\r\n--b\r\nContent-ID: <r@x>\r\nContent-Type: application/rlmi+xml\r\n\r\n" +
		`<list xmlns="urn:ietf:params:xml:ns:rlmi" uri="sip:all@e" version="7" fullState="1"><resource uri="sip:1@e"><name>Ada</name><instance id="a" state="active" cid="d1@x"/></resource>` +
		`<resource uri="sip:2@e"><instance id="b" state="terminated" reason="noresource"/></resource><resource uri="sip:in@e"><instance id="c" state="active" cid="d2@x"/></resource></list>` +
		"\r\n--b\r\nContent-ID: <d2@x>\r\nContent-Type: multipart/related;boundary=i\r\n\r\n" + inner + "\r\n--b--\r\n"
	info, err := parseList(kind, []byte(body))
	require.NoError(t, err)
	require.Equal(t, uint64(7), info.version)
	require.True(t, info.full)
	require.Len(t, info.resources, 3)
	require.Equal(t, "Ada", info.resources[0].name)
	view, err := parsePIDF(info.resources[0].body)
	require.NoError(t, err)
	require.True(t, view.open)
	require.True(t, info.resources[1].terminated)
	require.Equal(t, "sip:3@e", info.resources[2].uri, "a list within the list")
	for name, c := range map[string][2]string{
		"no multipart": {"application/pidf+xml", body}, "no boundary": {"multipart/related", body}, "no root": {kind, "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"},
		"another root": {kind, strings.Replace(body, "<list xmlns", "<lost xmlns", 1)}, "cut off": {kind, body[:len(body)/2]},
		"no version": {kind, strings.Replace(body, `version="7"`, "", 1)}, "no uri": {kind, strings.Replace(body, `uri="sip:1@e"`, "", 1)},
	} {
		_, err := parseList(c[0], []byte(c[1]))
		require.ErrorIs(t, err, errDocument, name)
	}
}

// What is made to hurt a parser is refused, quickly and whole.
func TestHostileDocuments(t *testing.T) {
	bomb := `<!DOCTYPE p [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>`
	for name, doc := range map[string]string{
		"entities":       strings.Replace(pidf(tuple("t", "open", "<note>&c;</note>")), "<presence", bomb+"<presence", 1),
		"external":       strings.Replace(pidf(tuple("t", "open", "<note>&x;</note>")), "<presence", `<!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><presence`, 1),
		"deep":           strings.Repeat("<presence>", 100) + strings.Repeat("</presence>", 100),
		"wide":           pidf(strings.Repeat("<tuple/>", 40_000)),
		"large":          pidf(strings.Repeat(" ", maxDocument)),
		"two roots":      pidf() + "<presence/>",
		"cut off":        pidf(tuple("t", "open", ""))[:200],
		"no document":    "hello",
		"empty":          "",
		"character set":  strings.Replace(pidf(), "UTF-8", "UTF-16", 1),
		"not its root":   `<dialogue version="1"/>`,
		"no such number": `<dialog-info version="-1"/>`,
	} {
		began := time.Now()
		_, err := parsePIDF([]byte(doc))
		require.ErrorIs(t, err, errDocument, name)
		_, err = parseDialogInfo([]byte(doc))
		require.ErrorIs(t, err, errDocument, name)
		require.Less(t, time.Since(began), 10*time.Second, name)
	}
	_, err := parsePIDF([]byte(strings.Replace(pidf(tuple("t", "open", "")), "<presence", bomb+"<presence", 1)))
	require.NoError(t, err, "what is declared and not used is harmless")
}

func TestCheckURL(t *testing.T) {
	for text, want := range map[string]Server{
		"sip:pbx.example.com":                       {Host: "pbx.example.com", Address: "pbx.example.com:5060"},
		"sip:PBX.example.com:5070;transport=tcp":    {Host: "PBX.example.com", Address: "pbx.example.com:5070"},
		"sip:pbx.example.com;transport=tls":         {Host: "pbx.example.com", Address: "pbx.example.com:5061", TLS: true},
		"sips:pbx.example.com":                      {Host: "pbx.example.com", Address: "pbx.example.com:5061", TLS: true},
		"sips:pbx.example.com:5071;transport=tcp":   {Host: "pbx.example.com", Address: "pbx.example.com:5071", TLS: true},
		"sip:[2001:db8::1]:5060;transport=udp;lr=1": {Host: "2001:db8::1", Address: "[2001:db8::1]:5060"},
	} {
		got, err := CheckURL(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "pbx", "http://pbx", "sip:", "sip://pbx", "sip:a@pbx", "sip:pbx;transport=ws", "sips:pbx;transport=udp", "sip:pbx:port"} {
		_, err := CheckURL(text)
		require.Error(t, err, text)
	}
}

func TestSeconds(t *testing.T) {
	require.Equal(t, 120*time.Second, seconds(" 120 (I am in a meeting);duration=60"))
	for _, s := range []string{"", "x", "-1", "99999999999999999999"} {
		require.Zero(t, seconds(s), s)
	}
}

func FuzzPIDF(f *testing.F) {
	f.Add([]byte(pidf(tuple("t", "open", "<note>x</note>"), personOf("p", "<rpid:busy/>", "<dm:note>DND</dm:note>"))))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><presence>&b;</presence>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := parsePIDF(body)
		if err == nil && v.open && v.closed {
			t.Fatal("open and closed")
		}
	})
}

func FuzzDialogInfo(f *testing.F) {
	f.Add([]byte(`<dialog-info version="1" state="full"><dialog id="a" direction="recipient"><state>early</state></dialog></dialog-info>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		info, err := parseDialogInfo(body)
		if err != nil {
			return
		}
		var c calls
		if c.fold(info) == c.known {
			t.Fatal("a first document is either full, and known, or a gap")
		}
		if len(c.dialogs) > maxDialogs {
			t.Fatal("more dialogs than there may be")
		}
	})
}

func FuzzList(f *testing.F) {
	f.Add(`multipart/related;boundary=b`, []byte("--b\r\nContent-Type: application/rlmi+xml\r\n\r\n<list version='1' fullState='true'><resource uri='sip:1@e'/></list>\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		info, err := parseList(kind, body)
		if err == nil && len(info.resources) > len(body) {
			t.Fatal("more resources than bytes")
		}
	})
}

func FuzzUsers(f *testing.F) {
	f.Add("users.csv", []byte("extension,uri,mail,name\n1001,sip:1001@e,a@e,Ada\n"))
	f.Add("users.yaml", []byte("- {extension: 1001}\n"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		users, err := ParseUsers(name, "example.com", data)
		if err != nil {
			return
		}
		for _, u := range users {
			if _, err := parseAOR(u.URI, "example.com"); err != nil {
				t.Fatalf("%q was accepted: %v", u.URI, err)
			}
		}
	})
}

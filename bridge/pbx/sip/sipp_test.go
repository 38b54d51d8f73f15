package sip_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/sip"
	"presencebridge/bridge/pbx/sip/kamailio"
	"presencebridge/bridge/presence"
)

// sipp runs a scenario of SIPp as the PBX, and returns its port and a function that waits for its end: SIPp fails when
// the connector does anything else than what the scenario expects.
func sipp(t *testing.T, calls int, scenario string) (port int, passes func()) {
	t.Helper()
	if _, err := exec.LookPath("sipp"); err != nil {
		kamailio.Missing(t, "sipp")
	}
	udp, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	_, text, err := net.SplitHostPort(udp.LocalAddr().String())
	require.NoError(t, err)
	require.NoError(t, udp.Close())
	port, err = strconv.Atoi(text)
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "scenario.xml")
	require.NoError(t, os.WriteFile(file, []byte(`<?xml version="1.0" encoding="ISO-8859-1" ?><scenario name="a PBX">`+scenario+`</scenario>`), 0o600))
	cmd := exec.CommandContext(t.Context(), "sipp", "-sf", file, "-i", "127.0.0.1", "-p", text, "-m", strconv.Itoa(calls), "-nostdin", "-timeout", "80s", "-timeout_error", "-t", "u1")
	cmd.Dir = dir
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process, which ends with the test's context
	return port, func() {
		t.Helper()
		select {
		case err := <-ended:
			require.NoError(t, err, out.String())
		case <-time.After(patience):
			require.FailNow(t, "the scenario did not end", out.String())
		}
	}
}

const (
	recvSubscribe = `<recv request="SUBSCRIBE" crlf="true"><action><ereg regexp="sip:[^>]*" search_in="hdr" header="Contact:" assign_to="contact"/>` +
		`<ereg regexp=".*" search_in="hdr" header="From:" assign_to="remote"/></action></recv>`
	answer = "[last_Via:]\n[last_From:]\n[last_Call-ID:]\n[last_CSeq:]\n"
)

func send(text string) string { return "<send><![CDATA[\n" + text + "\n]]></send>" }

// accepted answers a SUBSCRIBE and gives the dialog its tag, or keeps it.
func accepted(first bool) string {
	to := "[last_To:]"
	if first {
		to += ";tag=sipp"
	}
	return send("SIP/2.0 200 OK\n" + answer + to + "\nContact: <sip:pbx@127.0.0.1:[local_port]>\nExpires: 600\nContent-Length: 0\n")
}

// notify sends a notification within the dialog, and expects it to be taken.
func notify(cseq int, state, kind, body string) string {
	if kind != "" {
		kind = "Content-Type: " + kind + "\n"
	}
	return send(fmt.Sprintf("NOTIFY [$contact] SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:[local_port];branch=[branch]\nFrom: <sip:1001@pbx.example.com>;tag=sipp\n"+
		"To:[$remote]\nCall-ID: [call_id]\nCSeq: %d NOTIFY\nContact: <sip:pbx@127.0.0.1:[local_port]>\nMax-Forwards: 70\nEvent: dialog\nSubscription-State: %s\n%sContent-Length: [len]\n\n%s",
		cseq, state, kind, body)) + `<recv response="200"/>`
}

func dialogs(version int, state, inner string) string {
	return fmt.Sprintf(`<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="%d" state="%s" entity="sip:1001@pbx.example.com">%s</dialog-info>`, version, state, inner)
}

const dialogKind = "application/dialog-info+xml"

// scripted is a connector at a PBX that SIPp plays. SIPp plays the dialog package; presence is answered with 489, from a
// front that tells the two apart.
func scripted(t *testing.T, port int) (pbx.Connector, *watcher) {
	users := filepath.Join(t.TempDir(), "users.csv")
	require.NoError(t, os.WriteFile(users, []byte("extension\n1001\n"), 0o600))
	c, err := sip.New(sip.Config{
		URL: fmt.Sprintf("sip:127.0.0.1:%d", newFront(t, port)), Domain: "pbx.example.com", Username: "bridge", UsersFile: users,
		Timeout: 20 * time.Second, Ping: time.Hour, Debounce: 50 * time.Millisecond,
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, watch(t, c)
}

// TestVersionGapWithSIPp: partial documents are followed, and a gap in their versions is answered by a refresh, which
// brings the full state (RFC 4235 section 4.3).
func TestVersionGapWithSIPp(t *testing.T) {
	active := "active;expires=600"
	port, passes := sipp(t, 1, recvSubscribe+accepted(true)+
		notify(1, active, dialogKind, dialogs(0, "full", ""))+
		notify(2, active, dialogKind, dialogs(1, "partial", `<dialog id="a"><state>early</state></dialog>`))+
		notify(3, active, dialogKind, dialogs(3, "partial", `<dialog id="b"><state>confirmed</state></dialog>`))+
		recvSubscribe+accepted(false)+
		notify(4, active, dialogKind, dialogs(4, "full", `<dialog id="b"><state>confirmed</state></dialog>`)))
	_, w := scripted(t, port)
	w.until("the call", func() bool { return w.states["1001"].Line == presence.LineInCall })
	passes()
}

// TestTooBriefWithSIPp: 423 names what would be long enough, and that is asked for (RFC 6665 section 4.1.2.1). SIPp
// fails on anything else.
func TestTooBriefWithSIPp(t *testing.T) {
	port, passes := sipp(t, 1, `<recv request="SUBSCRIBE"/>`+
		send("SIP/2.0 423 Interval Too Brief\n"+answer+"[last_To:];tag=x\nMin-Expires: 4711\nContent-Length: 0\n")+
		strings.Replace(recvSubscribe, "<action>", `<action><ereg regexp="4711" search_in="hdr" header="Expires:" check_it="true" assign_to="asked"/>`, 1)+
		accepted(true)+notify(1, "active;expires=4711", dialogKind, dialogs(0, "full", `<dialog id="a"><state>early</state></dialog>`))+
		`<Reference variables="asked"/>`)
	_, w := scripted(t, port)
	passes()
	w.until("the ringing", func() bool { return w.states["1001"].Line == presence.LineRinging })
}

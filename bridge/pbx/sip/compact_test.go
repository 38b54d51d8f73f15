package sip

import (
	"strconv"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// Every field of a notification may come in its compact form, and in any case (RFC 3261 section 7.3.3, RFC 6665 section 8.2).
func TestNotificationInCompactForm(t *testing.T) {
	document := `<?xml version="1.0"?><dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full" entity="sip:100@pbx.example"/>`
	for name, text := range map[string]string{
		"compact": "v: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKa\r\nf: <sip:100@pbx.example>;tag=theirs\r\nt: <sip:bridge@pbx.example>;tag=ours\r\n" +
			"i: call\r\nCSeq: 7 NOTIFY\r\nm: <sip:presence@127.0.0.1:5060>\r\no: dialog;id=1\r\nsubscription-state: Active;Expires=40\r\nc: application/dialog-info+xml\r\nl: ",
		"capitals": "VIA: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKa\r\nFROM: <sip:100@pbx.example>;tag=theirs\r\nTO: <sip:bridge@pbx.example>;tag=ours\r\n" +
			"CALL-ID: call\r\nCSEQ: 7 NOTIFY\r\nCONTACT: <sip:presence@127.0.0.1:5060>\r\nEVENT: Dialog\r\nSUBSCRIPTION-STATE: ACTIVE ;EXPIRES = 40\r\nCONTENT-TYPE: application/dialog-info+xml\r\nCONTENT-LENGTH: ",
	} {
		t.Run(name, func(t *testing.T) {
			m, err := sip.NewParser().ParseSIP([]byte("NOTIFY sip:bridge@127.0.0.1:5061 SIP/2.0\r\nMax-Forwards: 70\r\n" + text + strconv.Itoa(len(document)) + "\r\n\r\n" + document))
			require.NoError(t, err)
			var got []notice
			l := &flow{dialogs: map[string]*subscription{}}
			l.dialogs["call"] = &subscription{event: eventDialog, callID: "call", fromTag: "ours", handler: func(n notice) { got = append(got, n) }}
			l.notified(m.(*sip.Request))
			require.Len(t, got, 1)
			require.Equal(t, "active", got[0].state)
			require.Equal(t, "40s", got[0].expires.String())
			require.Equal(t, "application/dialog-info+xml", mediaType(got[0].contentType))
			require.Equal(t, document, string(got[0].body))
			require.Equal(t, "theirs", l.dialogs["call"].toTag)
			require.Equal(t, "presence", l.dialogs["call"].remote.User)
		})
	}
}

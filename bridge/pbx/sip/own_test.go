package sip_test

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/presence"
)

// ownDocument finds our part of a presence document, as a watcher of another make would read it.
func ownDocument(t testing.TB, body string) pbx.State {
	t.Helper()
	if strings.TrimSpace(body) == "" {
		return pbx.State{}
	}
	var doc struct {
		Persons []struct {
			ID         string `xml:"id,attr"`
			Note       string `xml:"urn:ietf:params:xml:ns:pidf:data-model note"`
			Activities struct {
				Note string `xml:"urn:ietf:params:xml:ns:pidf:rpid note"`
				All  []struct {
					XMLName xml.Name
				} `xml:",any"`
			} `xml:"urn:ietf:params:xml:ns:pidf:rpid activities"`
		} `xml:"urn:ietf:params:xml:ns:pidf:data-model person"`
	}
	require.NoError(t, xml.Unmarshal([]byte(body), &doc), body)
	var out pbx.State
	for _, p := range doc.Persons {
		if !strings.HasPrefix(p.ID, "prbridge-") {
			continue
		}
		require.True(t, out.Status.IsZero(), "our document is there twice: %s", body)
		out.Status = presence.Status{Name: "available"}
		for _, a := range p.Activities.All {
			if a.XMLName.Local != "note" {
				out.Status.Name = a.XMLName.Local
			}
		}
		if out.Status.Name == "busy" && p.Activities.Note != "Do not disturb" {
			out.Status.Name = "busy-without-note"
		}
		if out.Message = p.Note; p.Note == p.Activities.Note {
			out.Message = ""
		}
	}
	return out
}

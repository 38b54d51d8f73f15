package verify

import (
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// Whoever tries the bridge with simulators signs both sides with an authority of their own, which simulators trust.
func TestCertificateThatSimulatorsTrust(t *testing.T) {
	w := newWorld(t)
	secured(t, w, "127.0.0.1") // the public authorities, none of which signed what follows
	own := newAuthority(t, nil, "own")
	own.issue(w, "127.0.0.1", 90*24*time.Hour)
	r := w.run()
	expect(t, r, "public_certificate", "", Failed, "no authority that everybody trusts")
	expect(t, r, "certificate_file", "", Failed)
	expect(t, r, "receiver", "", Failed)

	ca := string(w.front.ca) + string(w.graph.CAPEM()) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.cert.Raw}))
	w.set("endpoints", strings.Replace(w.lines["endpoints"], "ca.pem", "all.pem", 1))
	w.file("all.pem", ca)
	r = w.run()
	expect(t, r, "public_certificate", "", Warning, "endpoints.ca_file", "public authority")
	expect(t, r, "certificate_file", "", Warning, "only simulators trust")
	expect(t, r, "receiver", "", OK)

	own.issue(w, "elsewhere.example.com", 90*24*time.Hour)
	r = w.run()
	expect(t, r, "public_certificate", "", Failed)
	expect(t, r, "receiver", "", Failed)
}

package threecx

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// expires_in counts minutes before 20.0.9 and seconds since; it is never trusted beyond what can be.
func TestLifetime(t *testing.T) {
	for _, c := range []struct {
		expiresIn, version string
		want               time.Duration
	}{
		{"60", "20.0.5.100", time.Hour},
		{"60", "20.0.9.100", time.Minute},
		{"3600", "20.0.9", time.Hour},
		{"3600", "20.1", time.Hour},
		{"3600", "21.0.1.1", time.Hour},
		{"30", "20.0.8", 30 * time.Minute},
		{"60", "", time.Hour}, // no token lasts a minute
		{"3600", "", time.Hour},
		{"1800", "", 30 * time.Minute},
		{`"3600"`, "20.0.9.1", time.Hour},
		{"1", "20.0.9.1", time.Minute},
		{"86400", "20.0.9.1", time.Hour},
		{"600", "20.0.5.1", time.Hour},
		{"", "20.0.9.1", time.Hour},
		{"null", "20.0.9.1", time.Hour},
		{"-5", "20.0.9.1", time.Hour},
		{"1e99", "20.0.9.1", time.Hour},
		{"{}", "nonsense", time.Hour},
	} {
		require.Equal(t, c.want, lifetime(c.expiresIn, c.version), "%s of version %q", c.expiresIn, c.version)
	}
}

func TestBefore(t *testing.T) {
	for _, c := range []struct {
		version      string
		older, known bool
	}{
		{"20.0.9", false, true}, {"20.0.8.999", true, true}, {"20.0.10.1", false, true}, {"19", true, true}, {"20", true, true}, {"21", false, true},
		{"", false, false}, {"v20", false, false}, {"20.0.x", false, false}, {" 18.0.9.20 ", true, true},
	} {
		older, known := before(c.version, 20, 0, 9)
		require.Equal(t, c.known, known, c.version)
		require.Equal(t, c.older && c.known, older && known, c.version)
	}
}

func TestRoleSaysWhetherTheLicenceIncludesTheAPIs(t *testing.T) {
	jwt := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
	}
	for token, want := range map[string]bool{
		jwt(`{"role":["Admin","Enterprise"]}`): true, jwt(`{"role":["Admin"]}`): false, jwt(`{"role":"Enterprise"}`): true, jwt(`{"role":"MyPhone"}`): false,
		jwt(`{"role":[]}`): false, jwt(`{}`): true, jwt(`{"role":7}`): true, jwt(`nonsense`): true, "opaque": true, "a.b.c": true, "": true,
	} {
		require.Equal(t, want, hasEnterprise(token), token)
	}
}

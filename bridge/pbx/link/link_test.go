package link

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge/pbx"
)

func TestOfNetwork(t *testing.T) {
	for code, err := range map[string]error{
		"tls_untrusted":  fmt.Errorf("get: %w", x509.UnknownAuthorityError{}),
		"name_not_found": fmt.Errorf("get: %w", &net.DNSError{}),
		"timed_out":      fmt.Errorf("get: %w", context.DeadlineExceeded),
		"unreachable":    fmt.Errorf("get: %w", &net.OpError{Op: "dial", Err: errors.New("refused")}),
	} {
		p, ok := OfNetwork(err)
		require.True(t, ok, code)
		require.Equal(t, code, p.Code)
		require.NotEmpty(t, p.Text)
		require.NotEmpty(t, p.Remedy)
		require.Equal(t, code == "tls_untrusted", p.Person)
	}
	_, ok := OfNetwork(errors.New("something else"))
	require.False(t, ok)
}

// A break that heals within the debounce is no news; one that lasts is, and so is a recovery that lasts.
func TestTrackerIsDebounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := NewTracker(5 * time.Second)
		require.Equal(t, pbx.ConnConnecting, tr.Show().State)
		tr.Connected()
		require.Equal(t, pbx.ConnConnected, tr.Show().State)
		since := tr.Show().Since

		tr.Failed(Problem{Code: "broken", Text: "It broke."})
		require.Equal(t, pbx.ConnConnected, tr.Show().State)
		time.Sleep(4 * time.Second)
		tr.Connected()
		require.Equal(t, pbx.Connection{State: pbx.ConnConnected, Since: since}, tr.Show())

		tr.Failed(Problem{Code: "refused", Text: "Refused.", Remedy: "Pay.", Person: true})
		time.Sleep(5 * time.Second)
		c := tr.Show()
		require.Equal(t, pbx.ConnNeedsPerson, c.State)
		require.Equal(t, []string{"refused", "Refused.", "Pay."}, []string{c.Code, c.Text, c.Remedy})
		tr.Connected()
		require.Equal(t, pbx.ConnDegraded, tr.Show().State, "it may break again at once")
		time.Sleep(5 * time.Second)
		require.Equal(t, pbx.ConnConnected, tr.Show().State)
		tr.Idle()
		require.Equal(t, pbx.ConnConnecting, tr.Show().State)
	})
}

func TestWarnings(t *testing.T) {
	tr := NewTracker(time.Second)
	tr.Warn(pbx.Warning{Code: "a", Text: "One."})
	tr.Warn(pbx.Warning{Code: "b", Text: "Two."})
	before := tr.Show().Warnings
	tr.Warn(pbx.Warning{Code: "a", Text: "Another."})
	require.Equal(t, []pbx.Warning{{Code: "b", Text: "Two."}, {Code: "a", Text: "Another."}}, tr.Show().Warnings)
	tr.Warn(pbx.Warning{Code: "b"})
	tr.Warn(pbx.Warning{Code: "a"})
	require.Empty(t, tr.Show().Warnings)
	require.Equal(t, []pbx.Warning{{Code: "a", Text: "One."}, {Code: "b", Text: "Two."}}, before, "what was handed out does not change")
}

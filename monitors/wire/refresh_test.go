package wire

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/monitors"
)

// TestRevokedSessionsAreNoticed: Graph goes on taking the access token, and Entra gives no other one.
func TestRevokedSessionsAreNoticed(t *testing.T) {
	s := newSite(t, func(c *monitors.Config) { c.RefreshEvery = 200 * time.Millisecond })
	s.m.SetMembers(s.people(10))
	require.Equal(t, monitors.FlowAuthorized, s.authorize(one, one).State)
	s.eventually("subscribed", func() bool { return s.watching(10) != "" })
	require.Equal(t, monitors.FlowAuthorized, s.authorize(two, two).State)

	s.sim.RevokeSessions(one)
	s.eventually("noticed, and the spare has taken over", func() bool {
		return s.info(one).State == monitors.StateNeedsAttention && s.info(two).Members == 10 && s.info(two).SubscriptionID != ""
	})
	require.NotEmpty(t, s.info(one).Remedy)
	require.Equal(t, monitors.StateAuthorized, s.info(two).State)
}

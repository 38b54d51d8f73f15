package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestDecisionsAreReadBack(t *testing.T) {
	b := openBus(t, testConfig(t))
	read := func(member string, since time.Time) (got []string) {
		require.NoError(t, b.Decisions(t.Context(), "contoso", member, since, func(at time.Time, json []byte) error {
			require.WithinDuration(t, time.Now(), at, time.Minute)
			got = append(got, string(json))
			return nil
		}))
		return got
	}
	require.Empty(t, read("Ann@contoso.com", time.Time{}))
	for i := range 20 {
		b.PublishDecision("contoso", "Ann@contoso.com", fmt.Appendf(nil, `{"n":%d}`, i))
		b.PublishDecision("contoso", "bob", []byte(`{"other":true}`))
		b.PublishDecision("fabrikam", "Ann@contoso.com", []byte(`{"other":true}`))
	}
	require.Eventually(t, func() bool { return len(read("Ann@contoso.com", time.Time{})) == 20 }, patience, 20*time.Millisecond)
	require.Equal(t, `{"n":0}`, read("Ann@contoso.com", time.Now().Add(-time.Hour))[0], "oldest first")
	require.Empty(t, read("Ann@contoso.com", time.Now()))
	between := time.Now()
	b.PublishDecision("contoso", "Ann@contoso.com", []byte(`{"n":"late"}`))
	require.Eventually(t, func() bool { return len(read("Ann@contoso.com", between)) == 1 }, patience, 20*time.Millisecond)
	require.ErrorIs(t, b.Decisions(t.Context(), "Con.toso", "bob", time.Time{}, nil), ErrInvalid)
}

func TestObservationsAreCloudEvents(t *testing.T) {
	b := openBus(t, testConfig(t))
	b.PublishObservation("contoso", "6c1f9d2e-0000-4000-8000-00000000000a", "teams", []byte(`{"pair":"Busy/InACall"}`))
	b.PublishObservation("contoso", "Ann", "pbx.main.1001", []byte(`{"line":"idle"}`))
	b.PublishObservation("contoso", "Ann", "pbx.main", []byte(`{}`))
	b.PublishObservation("contoso", "Ann", "teams", []byte(`{"not json`))
	b.PublishObservation("Contoso>", "Ann", "teams", []byte(`{}`))
	require.EqualValues(t, 3, testutil.ToFloat64(b.metrics.dropped.WithLabelValues("", streamPresence, string(reasonInvalid))))

	type seen struct {
		subject string
		event   event.Event
	}
	var got []seen
	require.Eventually(t, func() bool {
		got = nil
		err := b.scan(t.Context(), scan{stream: streamPresence}, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
			require.Equal(t, "application/cloudevents+json", m.Headers().Get("Content-Type"))
			s := seen{subject: m.Subject()}
			got = append(got, s)
			return json.Unmarshal(m.Data(), &got[len(got)-1].event)
		})
		return err == nil && len(got) == 2
	}, patience, 20*time.Millisecond)
	require.Equal(t, "presence.v1.contoso.6c1f9d2e-0000-4000-8000-00000000000a.teams", got[0].subject)
	require.Equal(t, "presence.v1.contoso.x-416e6e.pbx.main.1001", got[1].subject)
	e := got[1].event
	require.NoError(t, e.Validate())
	require.Equal(t, "1.0", e.SpecVersion())
	require.Equal(t, ObservationType, e.Type())
	require.Equal(t, "/accounts/contoso", e.Source())
	require.Equal(t, "Ann/pbx.main.1001", e.Subject())
	require.Equal(t, "application/json", e.DataContentType())
	require.JSONEq(t, `{"line":"idle"}`, string(e.Data()))
	require.NotEqual(t, got[0].event.ID(), e.ID())
}

func TestFeedDropsInsteadOfWaiting(t *testing.T) {
	b := openBus(t, testConfig(t))
	release := hold(b.decisions)
	defer release()
	big := make([]byte, 1<<20)
	for range 40 { // would not end, if it waited
		b.PublishDecision("contoso", "bob", big)
	}
	require.Greater(t, testutil.ToFloat64(b.metrics.dropped.WithLabelValues("contoso", streamDecisions, string(reasonBusy))), 20.0)
}

func TestNoHistoryKeepsNothing(t *testing.T) {
	cfg := testConfig(t)
	b := openBus(t, cfg)
	b.PublishDecision("contoso", "bob", []byte(`{}`))
	closeBus(t, b)
	cfg.History = 0
	b = openBus(t, cfg)
	b.PublishDecision("contoso", "bob", []byte(`{}`))
	b.PublishObservation("contoso", "bob", "teams", []byte(`{}`))
	require.NoError(t, b.Decisions(t.Context(), "contoso", "bob", time.Time{}, func(time.Time, []byte) error { t.Error("visited"); return nil }))
	_, err := b.js.Stream(t.Context(), streamDecisions)
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound, "what was kept before is gone")
	require.NoError(t, b.Ready())
}

func TestCommands(t *testing.T) {
	b := openBus(t, testConfig(t))
	_, err := b.Command(t.Context(), "contoso", []byte("x"))
	require.ErrorIs(t, err, ErrNoOwner)
	var left atomic.Int64
	stop, err := b.ServeCommands("contoso", func(ctx context.Context, req []byte) []byte {
		switch string(req) {
		case "hang":
			<-ctx.Done()
		case "long":
			return make([]byte, 10<<20)
		}
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		left.Store(int64(time.Until(deadline)))
		return append([]byte("did "), req...)
	})
	require.NoError(t, err)
	answer, err := b.Command(t.Context(), "contoso", []byte("x"))
	require.NoError(t, err)
	require.Equal(t, "did x", string(answer))
	require.InDelta(t, float64(commandTimeout), float64(left.Load()), float64(5*time.Second))
	_, err = b.Command(t.Context(), "fabrikam", []byte("x"))
	require.ErrorIs(t, err, ErrNoOwner)
	_, err = b.Command(t.Context(), "contoso", []byte("long"))
	require.ErrorIs(t, err, ErrTooLarge)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = b.Command(ctx, "contoso", []byte("hang"))
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	busy := make(chan error, 40)
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 40 {
		go func() {
			_, err := b.Command(ctx, "contoso", []byte("hang"))
			busy <- err
		}()
	}
	require.ErrorIs(t, receive(t, busy), ErrBusy, "more than 16 at a time are refused")
	stop() // ends those that hang
	for range 39 {
		receive(t, busy)
	}
	_, err = b.Command(t.Context(), "contoso", []byte("x"))
	require.ErrorIs(t, err, ErrNoOwner)
	_, err = b.ServeCommands("Con.toso", nil)
	require.ErrorIs(t, err, ErrInvalid)
}

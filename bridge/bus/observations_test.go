package bus

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

func TestObservationsAreReadBack(t *testing.T) {
	b := openBus(t, testConfig(t))
	read := func(since time.Time) (got []string) {
		require.NoError(t, b.Observations(t.Context(), "contoso", since, func(o Observation) error {
			require.WithinDuration(t, time.Now(), o.At, time.Minute)
			got = append(got, o.Member+" "+o.Side+" "+string(o.Data))
			return nil
		}))
		return got
	}
	require.Empty(t, read(time.Time{}))
	for i := range 10 {
		b.PublishObservation("contoso", "ann", "teams", fmt.Appendf(nil, `{"n":%d}`, i))
		b.PublishObservation("contoso", "Bob", "pbx.main.10.01", fmt.Appendf(nil, `{"n":%d}`, i))
		b.PublishObservation("fabrikam", "ann", "teams", []byte(`{"other":true}`))
	}
	require.Eventually(t, func() bool { return len(read(time.Time{})) == 20 }, patience, 20*time.Millisecond)
	got := read(time.Now().Add(-time.Hour))
	require.Equal(t, []string{`ann teams {"n":0}`, `Bob pbx.main.10.01 {"n":0}`, `ann teams {"n":1}`}, got[:3], "all members, in order")
	require.Empty(t, read(time.Now()))

	// What a stranger put there is no observation, and does not end the reading.
	for _, junk := range []string{"{", `{"specversion":"1.0","type":"com.example","id":"1","source":"/x","subject":"ann/teams"}`, "[]", ""} {
		require.NoError(t, b.nc.PublishMsg(&nats.Msg{Subject: "presence.v1.contoso.junk.teams", Data: []byte(junk)}))
	}
	require.NoError(t, b.nc.Flush())
	b.PublishObservation("contoso", "ann", "teams", []byte(`{"n":"last"}`))
	require.Eventually(t, func() bool { return len(read(time.Time{})) == 21 }, patience, 20*time.Millisecond)

	enough := errors.New("enough")
	require.ErrorIs(t, b.Observations(t.Context(), "contoso", time.Time{}, func(Observation) error { return enough }), enough)
	require.ErrorIs(t, b.Observations(t.Context(), "Con.toso", time.Time{}, nil), ErrInvalid)
}

func TestObservationsWithoutHistory(t *testing.T) {
	cfg := testConfig(t)
	cfg.History = 0
	b := openBus(t, cfg)
	b.PublishObservation("contoso", "ann", "teams", []byte(`{}`))
	require.NoError(t, b.Observations(t.Context(), "contoso", time.Time{}, func(Observation) error { return errors.New("none was kept") }))
}

func FuzzReadObservation(f *testing.F) {
	m, err := observation("contoso", "ann", "pbx.main.1001", []byte(`{"line":"idle"}`), time.Unix(1, 0))
	require.NoError(f, err)
	f.Add(m.Data)
	f.Add([]byte(`{"specversion":"1.0"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if o, ok := readObservation(body); ok && (o.Member == "" || o.Side == "") {
			t.Fatalf("%+v", o)
		}
	})
}

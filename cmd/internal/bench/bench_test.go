package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary play the roles, as the program does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == roleArg {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		xs   []float64
		q    float64
		want float64
	}{
		{nil, 0.5, 0},
		{[]float64{7}, 0.99, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 2, 3}, 0.5, 2.5},
		{[]float64{1, 2}, 0, 1},
		{[]float64{1, 2}, 1, 2},
	} {
		require.InDelta(t, tc.want, quantile(tc.xs, tc.q), 1e-9, "%v %v", tc.xs, tc.q)
	}
	xs := []float64{3, 1, 2}
	median(xs)
	require.Equal(t, []float64{3, 1, 2}, xs, "the rounds keep their order")
}

func TestReport(t *testing.T) {
	r := newReport(true)
	r.add(figure{Part: "ack", Name: "kept", Rounds: []float64{9, 1, 2}, Unit: "x", Target: 2})
	r.add(figure{Part: "ack", Name: "broken", Value: 2.5, Unit: "x", Target: 2})
	r.add(figure{Part: "ack", Name: "for information", Value: 1e6, Unit: "us"})
	require.Equal(t, 1, r.missed())
	require.InDelta(t, 2, r.Figures[0].Value, 1e-9, "the median of the rounds")
	var out bytes.Buffer
	require.NoError(t, r.print(&out))
	lines := strings.Split(out.String(), "\n")
	require.Regexp(t, `kept +2\.00 x +<= 2\.00 +ok +9\.00 1\.00 2\.00`, lines[1])
	require.Regexp(t, `broken +2\.50 x +<= 2\.00 +MISSED`, lines[2])
	require.NotContains(t, lines[3], "ok")
	file := filepath.Join(t.TempDir(), "bench.json")
	require.NoError(t, r.write(file))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var back report
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, r.Figures, back.Figures)
}

func TestMetric(t *testing.T) {
	line := strings.Fields("BenchmarkPresences650-2   100   599000 ns/op   21.6 sdk/lean   12000000 sdk-ns/op")
	require.InDelta(t, 599000, metric(line, "ns/op"), 1e-9)
	require.InDelta(t, 21.6, metric(line, "sdk/lean"), 1e-9)
	require.Zero(t, metric(line, "B/op"))
}

func TestFlags(t *testing.T) {
	var out, errs bytes.Buffer
	require.Equal(t, 1, run([]string{"--only", "ack,speed"}, nil, &out, &errs))
	require.Contains(t, errs.String(), "--only speed: use some of ack,item,latency,decoder,memory")
	require.Equal(t, 0, run([]string{"--help"}, nil, &out, &errs))
	require.Equal(t, 1, run([]string{"--fast"}, nil, &out, &errs))
	require.Equal(t, 1, run([]string{roleArg, "king", "{}"}, nil, &out, &errs))
}

func TestOptions(t *testing.T) {
	o, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{only: []string{"ack", "item", "latency", "decoder", "memory"}}, o)
	o, err = parse([]string{"--quick", "--strict", "--keep", "--only", "item,ack", "--json", "a.json", "--profile", "cpu"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{only: []string{"item", "ack"}, file: "a.json", profile: "cpu", quick: true, strict: true, keep: true}, o)
}

// Everybody begins a call, then everybody ends it.
func TestMover(t *testing.T) {
	var did []string
	m := &mover{
		ids:   []string{"a", "b"},
		begin: func(id string) error { did = append(did, "+"+id); return nil },
		end:   func(id string) error { did = append(did, "-"+id); return nil },
	}
	n, err := m.burst(json.RawMessage("5"))
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
	require.Equal(t, []string{"+a", "+b", "-a", "-b", "+a"}, did)
	// By the clock, as many as the time has room for.
	n, err = m.drive(t.Context(), json.RawMessage(`{"rate":1000,"for":10000000}`))
	require.NoError(t, err)
	require.EqualValues(t, 15, n)
}

func TestKeepsPeopleApart(t *testing.T) {
	first, others := &mover{ids: []string{"a", "b", "c"}}, &mover{ids: []string{"a", "b", "c"}}
	_, err := first.keepFirst(json.RawMessage("1"))
	require.NoError(t, err)
	_, err = others.keepRest(json.RawMessage("1"))
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, first.ids)
	require.Equal(t, []string{"b", "c"}, others.ids)
}

func TestSamples(t *testing.T) {
	var s samples
	s.add("teams direct", 1500*time.Microsecond)
	require.Equal(t, map[string][]float64{"teams direct": {1.5}}, s.take())
	require.Empty(t, s.take())
}

// A child obeys, says what went wrong, and ends when nobody talks to it any more.
func TestChild(t *testing.T) {
	var ok bool
	c, err := start(t.Context(), "rsa", nil, &ok)
	require.NoError(t, err)
	require.True(t, ok)
	var cost float64
	require.NoError(t, c.order("run", 20*time.Millisecond, &cost))
	require.Positive(t, cost)
	u, err := c.usage()
	require.NoError(t, err)
	require.Positive(t, u.CPU)
	require.ErrorContains(t, c.order("dance", nil, nil), `rsa: dance: no order "dance"`)
	b := &bench{profile: t.TempDir()}
	require.NoError(t, b.profiled(c, "some", func() error { return nil }))
	require.FileExists(t, filepath.Join(b.profile, "some.pprof"))
	require.NoError(t, c.stop())
	_, err = start(t.Context(), "king", nil, &ok)
	require.ErrorContains(t, err, "king did not start")
}

func TestAckBodies(t *testing.T) {
	for filter, size := range map[bool]int{false: 1000, true: 29000} {
		body := strings.Replace(ackBody("state", filter), "%s", "0123456789abcdef", 1)
		require.True(t, json.Valid([]byte(body)))
		require.InDelta(t, size, len(body), float64(size)/5)
		require.Contains(t, body, "0123456789abcdef")
	}
}

// The parts that are quick enough run as a whole.
func TestAckQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	var out, errs bytes.Buffer
	file := filepath.Join(t.TempDir(), "bench.json")
	require.Equal(t, 0, run([]string{"--quick", "--only", "ack", "--json", file}, nil, &out, &errs), errs.String())
	require.FileExists(t, file)
	require.Equal(t, 8, strings.Count(out.String(), "SyncAlways"))
}

func TestEngineHeap(t *testing.T) {
	var hello engineHello
	c, err := start(t.Context(), "engine", siteArgs{Members: 800}, &hello)
	require.NoError(t, err)
	require.NoError(t, c.stop())
	require.Positive(t, hello.PerMember)
}

// On a small site every move is written to the other side, and the latencies are told.
func TestSite(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const members = 40
	var say bytes.Buffer
	b := &bench{dir: t.TempDir(), quick: true, say: &say}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := openSite(ctx, b, "small", siteArgs{Members: members, Monitors: 1, Latency: time.Millisecond}, looseSync)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.stop()) }()
	require.NoError(t, s.tenant.order("burst", members, nil))
	w := &workload{site: s, members: members}
	require.NoError(t, w.drain(ctx))
	require.Equal(t, members, w.moved)
	var by map[string][]float64
	require.NoError(t, s.bridge.order("latencies", nil, &by))
	require.Len(t, by["main direct"], members)
}

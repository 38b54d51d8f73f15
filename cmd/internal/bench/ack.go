package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"presencebridge/bridge/bus"
	"presencebridge/webhook"
)

const (
	benchAccount = "contoso"
	ackPath      = "/graph/" + benchAccount + "/notifications"
	barePath     = "/bare"
	// Requests under way at a time: what waits together is stored together, so that few cost more each.
	fewConnections, manyConnections = 4, 64
	// looseSync stands for "without SyncAlways": the interval that NATS itself has by default.
	looseSync = 2 * time.Minute
)

// receiverArgs say how the receiver stores.
type receiverArgs struct {
	Dir  string        `json:"dir"`
	Sync time.Duration `json:"sync"` // 0: always
	Key  []byte        `json:"key"`
}

// playReceiver is the real receiver in front of the real embedded bus.
func playReceiver(ctx context.Context, raw json.RawMessage) (*played, error) {
	var args receiverArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	b, err := bus.Open(ctx, bus.Config{DataDir: args.Dir, Sync: bus.Sync(args.Sync), MaxStore: 32 << 30, MinFree: -1, Metrics: registry})
	if err != nil {
		return nil, err
	}
	r, err := webhook.New(webhook.Config{Accounts: []string{benchAccount}, Key: args.Key, Store: b, Metrics: registry})
	if err != nil {
		return nil, err
	}
	ln, err := loopback(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, ln) }()
	orders := map[string]func(json.RawMessage) (any, error){
		"stored": func(json.RawMessage) (any, error) {
			return counted(registry, "presence_bridge_webhook_requests_total", "stored")
		},
	}
	return &played{hello: ln.Addr().String(), orders: orders, stop: func() error {
		cancel()
		end, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer stop()
		return errors.Join(<-done, b.Close(end))
	}}, nil
}

// nowhere is a store that is never asked.
type nowhere struct{}

func (nowhere) StoreNotification(context.Context, string, []byte, time.Time, string) error {
	return errors.New("nothing is stored here")
}

// playBare is what the receiver is measured against: Echo, and a handler that reads the body and says 202.
func playBare(ctx context.Context, _ json.RawMessage) (*played, error) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
	// Only package webhook may import Echo: a further route of a receiver is a handler in a bare Echo.
	r, err := webhook.New(webhook.Config{
		Accounts: []string{benchAccount}, Key: make([]byte, webhook.KeySize), Store: nowhere{},
		Routes: []webhook.Route{{Method: http.MethodPost, Path: barePath, Handler: handler}},
	})
	if err != nil {
		return nil, err
	}
	ln, err := loopback(ctx)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: r.Handler()} //nolint:gosec // bare: the limits are part of what is measured
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	return &played{hello: ln.Addr().String(), stop: func() error {
		err := srv.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}}, nil
}

func loopback(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", "127.0.0.1:0")
}

// ackBody is one rich item of about 1 KB, or with the echoed filter of 650 members, 28 KB of it.
func ackBody(state string, filter bool) string {
	resource := "communications/presences/fa8bf3dc-eca7-46b7-bad1-db199b62afc3"
	if filter {
		id := "fa8bf3dc-eca7-46b7-bad1-db199b62afc3"
		resource = "communications/presences?$filter=id+in+(%27" + strings.Repeat(id+"%27,%27", 649) + id + "%27)"
	}
	return `{"value":[{"subscriptionId":"7f9b3f6c-2f0e-4c0c-8f6e-0d6c3f0e9a11","clientState":"` + state + `","changeType":"updated",` +
		`"tenantId":"84bd8158-6d4d-4958-8b9f-9d6445542f95","resource":"` + resource + `",` +
		`"subscriptionExpirationDateTime":"2023-09-14T10:00:00.0000000Z",` +
		`"resourceData":{"@odata.id":"communications/presences('fa8bf3dc-eca7-46b7-bad1-db199b62afc3')",` +
		`"@odata.type":"#Microsoft.Graph.presence","id":"fa8bf3dc-eca7-46b7-bad1-db199b62afc3"},` +
		`"encryptedContent":{"data":"` + strings.Repeat("QUFB", 55) + `","dataSignature":"%s",` +
		`"dataKey":"` + strings.Repeat("QUFB", 40) + `","encryptionCertificateId":"c","encryptionCertificateThumbprint":"AB"}}],` +
		`"validationTokens":["e30.e30.AA"]}`
}

// target is a server that requests are posted to.
type target struct {
	*child
	addr, path string
}

func ackPart(ctx context.Context, b *bench) (err error) {
	key := bytes.Repeat([]byte{7}, webhook.KeySize)
	state, err := webhook.NewClientState(key, benchAccount)
	if err != nil {
		return err
	}
	var targets []*target
	defer func() {
		for _, t := range targets {
			err = errors.Join(err, t.stop())
		}
	}()
	open := func(role, path string, args any) error {
		var addr string
		c, err := start(ctx, role, args, &addr)
		if err == nil {
			targets = append(targets, &target{child: c, addr: addr, path: path})
		}
		return err
	}
	if err := open("bare", barePath, nil); err != nil {
		return err
	}
	for i, sync := range []time.Duration{looseSync, 0} {
		dir := filepath.Join(b.dir, fmt.Sprint("ack", i))
		if err := open("receiver", ackPath, receiverArgs{Dir: dir, Sync: sync, Key: key}); err != nil {
			return err
		}
	}
	for _, load := range []ackLoad{
		{ackBody(state, false), fewConnections}, {ackBody(state, false), manyConnections},
		{ackBody(state, true), fewConnections}, {ackBody(state, true), manyConnections},
	} {
		if err := ackRounds(ctx, b, targets, load); err != nil {
			return err
		}
	}
	return nil
}

// ackLoad is what is posted, and over how many connections.
type ackLoad struct {
	body        string
	connections int
}

func (l ackLoad) String() string {
	return fmt.Sprintf("%.1f KB over %d connections", float64(len(l.body))/1000, l.connections)
}

// ackRounds lets the three servers take turns.
func ackRounds(ctx context.Context, b *bench, targets []*target, load ackLoad) error {
	duration := pick(b, 800*time.Millisecond, 200*time.Millisecond)
	cost, rate := make([][]float64, len(targets)), make([][]float64, len(targets))
	var ratios [3][]float64
	for round := range pick(b, 6, 2) {
		b.progress("acknowledgement: %s, round %d", load, round)
		for i, t := range targets {
			var c, r float64
			err := b.profiled(t.child, fmt.Sprintf("ack-%d-%d-%d", i, len(load.body), load.connections), func() (err error) {
				c, r, err = t.hammer(ctx, load, duration)
				return err
			})
			if err != nil {
				return err
			}
			if round == 0 {
				continue // to warm up
			}
			cost[i], rate[i] = append(cost[i], c), append(rate[i], r)
			ratios[i] = append(ratios[i], c/cost[0][len(cost[0])-1])
		}
	}
	for i, v := range []struct {
		name   string
		target float64
	}{{"a bare handler", 0}, {"without SyncAlways", 6}, {"with SyncAlways", 14}} {
		if i > 0 {
			b.report.add(figure{Part: "ack", Name: load.String() + ", " + v.name, Rounds: ratios[i], Unit: "x", Target: v.target,
				Note: fmt.Sprintf("%.0f us of CPU a request, %.0f requests/s", median(cost[i]), median(rate[i]))})
			continue
		}
		b.report.add(figure{Part: "ack", Name: load.String() + ", " + v.name, Rounds: cost[i], Unit: "us CPU",
			Note: fmt.Sprintf("%.0f requests/s", median(rate[i]))})
	}
	return nil
}

// hammer posts over the connections for a while: microseconds of the server's CPU per request, and requests a second.
func (t *target) hammer(ctx context.Context, load ackLoad, d time.Duration) (cost, rate float64, err error) {
	before, err := t.usage()
	if err != nil {
		return 0, 0, err
	}
	storedBefore, err := t.stored()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		n     int
		fails []error
	)
	for i := range load.connections {
		wg.Go(func() {
			sent, err := t.send(ctx, load.body, uint64(began.UnixNano())+uint64(i)<<20, began.Add(d))
			mu.Lock()
			defer mu.Unlock()
			n += sent
			if err != nil {
				fails = append(fails, err)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	after, err := t.usage()
	if err = errors.Join(append(fails, err)...); err != nil {
		return 0, 0, err
	}
	stored, err := t.stored()
	if err != nil {
		return 0, 0, err
	}
	if n == 0 || (t.path == ackPath && int(stored-storedBefore) != n) {
		return 0, 0, fmt.Errorf("%d requests were accepted and %.0f stored", n, stored-storedBefore)
	}
	return float64((after.CPU - before.CPU).Microseconds()) / float64(n), float64(n) / took.Seconds(), nil
}

// stored is how many bodies the receiver says it stored. The bare handler stores none.
func (t *target) stored() (n float64, err error) {
	if t.path == ackPath {
		err = t.order("stored", nil, &n)
	}
	return n, err
}

// send posts over one connection until the time is over. Each body is another one, as Graph's are: the bus takes
// equal ones for one.
func (t *target) send(ctx context.Context, body string, number uint64, until time.Time) (int, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	before, after, _ := strings.Cut(body, "%s")
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		t.path, len(before)+16+len(after))
	in, n := bufio.NewReader(c), 0
	var request []byte
	for ; time.Now().Before(until) && ctx.Err() == nil; n++ {
		request = append(append(request[:0], head...), before...)
		request = fmt.Appendf(request, "%016x", number+uint64(n))
		request = append(request, after...)
		if _, err := c.Write(request); err != nil {
			return n, err
		}
		if err := accepted(in); err != nil {
			return n, err
		}
	}
	return n, nil
}

// accepted reads an answer, which has no body, and wants it to be 202.
func accepted(in *bufio.Reader) error {
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 202 ")) {
			return fmt.Errorf("answered %q", line)
		}
		if len(line) == 2 {
			return nil
		}
	}
}

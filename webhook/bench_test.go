package webhook

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// benchServer, in the environment, makes the test binary a server: "bare" or "receiver".
const benchServer = "WEBHOOK_BENCH_SERVER"

func TestMain(m *testing.M) {
	if which := os.Getenv(benchServer); which != "" {
		if err := benchServe(which); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// noStore stores nothing: what is measured is the receiver alone.
type noStore struct{}

func (noStore) StoreNotification(context.Context, string, []byte, time.Time, string) error {
	return nil
}

// benchServe prints its address, then, for every line on the standard input, the CPU time of this
// process so far, in nanoseconds.
func benchServe(which string) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	switch which {
	case "receiver":
		r, err := New(Config{Accounts: []string{"contoso"}, Key: testKey, Store: noStore{}, Metrics: prometheus.NewRegistry()})
		if err != nil {
			return err
		}
		go func() { done <- r.Serve(ctx, ln) }()
	default:
		srv := &http.Server{Handler: bareEcho()}
		go func() { <-ctx.Done(); _ = srv.Close() }()
		go func() { _ = srv.Serve(ln); done <- nil }()
	}
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var ru syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
			return err
		}
		fmt.Println(ru.Utime.Nano() + ru.Stime.Nano())
	}
	cancel()
	return <-done
}

// bareEcho is what the receiver is measured against: a handler that reads the body and answers.
func bareEcho() http.Handler {
	e := echo.New()
	e.POST("/graph/:account/notifications", func(c echo.Context) error {
		if _, err := io.ReadAll(c.Request().Body); err != nil {
			return err
		}
		return c.NoContent(http.StatusAccepted)
	})
	return e
}

// benchProcess is a server in a process of its own, so that its CPU time is not the client's.
type benchProcess struct {
	addr string
	in   io.WriteCloser
	out  *bufio.Scanner
}

func startBench(b *testing.B, which string) *benchProcess {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchServer+"="+which)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	p := &benchProcess{in: in, out: bufio.NewScanner(out)}
	require.True(b, p.out.Scan())
	p.addr = p.out.Text()
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return p
}

func (p *benchProcess) cpu(b *testing.B) time.Duration {
	b.Helper()
	_, err := io.WriteString(p.in, "\n")
	require.NoError(b, err)
	require.True(b, p.out.Scan())
	n, err := strconv.ParseInt(p.out.Text(), 10, 64)
	require.NoError(b, err)
	return time.Duration(n)
}

// send posts the request n times over a few kept connections and returns the server's CPU time for it.
func (p *benchProcess) send(b *testing.B, request []byte, n int) time.Duration {
	b.Helper()
	const conns = 4
	before := p.cpu(b)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			if err := sendOn(p.addr, request, (n+i)/conns); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	return p.cpu(b) - before
}

func sendOn(addr string, request []byte, n int) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	in, want := bufio.NewReader(c), []byte("HTTP/1.1 202 ")
	for range n {
		if _, err := c.Write(request); err != nil {
			return err
		}
		for first := true; ; first = false {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if first && !bytes.HasPrefix(line, want) {
				return fmt.Errorf("answered %q", line)
			}
			if len(line) == 2 {
				break
			}
		}
	}
	return nil
}

// BenchmarkReceiver compares the CPU time per request of the receiver, without a store, with that of
// a bare echo handler, for a rich body of 1 KB and for one that echoes the filter of 650 users. Both
// servers are processes of their own and take turns within one run.
func BenchmarkReceiver(b *testing.B) {
	filter := "communications/presences?$filter=id+in+(%27" +
		strings.Repeat("fa8bf3dc-eca7-46b7-bad1-db199b62afc3%27,%27", 649) + "fa8bf3dc-eca7-46b7-bad1-db199b62afc3%27)"
	pad := strings.Repeat("QUFB", 110)
	item := strings.Replace(rich(newState(b, "contoso")), "ZGF0YQ==", pad, 1)
	for _, body := range []struct{ name, json string }{
		{"1KB", envelope(item)},
		{"28KB", envelope(strings.Replace(item, "communications/presences/u", filter, 1))},
	} {
		b.Run(body.name, func(b *testing.B) {
			request := []byte(head(notifyURL, len(body.json)) + body.json)
			bare, receiver := startBench(b, "bare"), startBench(b, "receiver")
			bare.send(b, request, 2000) // warm up
			receiver.send(b, request, 2000)
			b.ResetTimer()
			var cpuBare, cpuReceiver time.Duration
			for left := b.N; left > 0; {
				n := min(left, 5000)
				left -= n
				cpuBare += bare.send(b, request, n)
				cpuReceiver += receiver.send(b, request, n)
			}
			b.ReportMetric(float64(cpuBare.Nanoseconds())/float64(b.N), "bare-cpu-ns/op")
			b.ReportMetric(float64(cpuReceiver.Nanoseconds())/float64(b.N), "receiver-cpu-ns/op")
			b.ReportMetric(float64(cpuReceiver)/float64(max(cpuBare, 1)), "ratio")
			b.ReportMetric(float64(len(body.json)), "body-bytes")
			b.ReportMetric(0, "ns/op") // both servers together: it says nothing
		})
	}
}

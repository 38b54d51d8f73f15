package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// trickle writes s byte by byte, one each interval, until the connection ends, and reports how long
// that took.
func trickle(c net.Conn, s string, interval time.Duration) (took chan time.Duration) {
	took = make(chan time.Duration, 1)
	go func() {
		start := time.Now()
		for i := range len(s) {
			if _, err := c.Write([]byte{s[i]}); err != nil {
				break
			}
			<-time.After(interval)
		}
		took <- time.Since(start)
	}()
	return took
}

func TestSlowHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		c := dial()
		took := trickle(c, head(notifyURL, 10)+strings.Repeat("X-A: b\r\n", 1000), 200*time.Millisecond)
		_, _ = io.Copy(io.Discard, c) // until the server hangs up
		require.NoError(t, c.Close())
		require.LessOrEqual(t, <-took, readHeaderTimeout+time.Second)
		require.NoError(t, stop())
	})
}

func TestSilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		c, start := dial(), time.Now()
		n, err := c.Read(make([]byte, 1))
		require.Zero(t, n)
		require.Error(t, err)
		require.LessOrEqual(t, time.Since(start), readHeaderTimeout+time.Second)
		require.NoError(t, stop())
	})
}

func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		body := envelope(rich(newState(t, "contoso")))
		for name, start := range map[string]string{
			"length":     head(notifyURL, len(body)) + body[:10],
			"chunked":    head(notifyURL, -1) + "a\r\n" + body[:10],
			"no body":    head(notifyURL, 8<<20),
			"a rich lie": head("/graph/nobody/lifecycle", 8<<20) + body,
		} {
			c := dial()
			_, err := io.WriteString(c, start)
			require.NoError(t, err)
			begun := time.Now()
			resp := answer(t, c)
			require.Equal(t, http.StatusRequestTimeout, resp.StatusCode, name)
			require.True(t, resp.Close, name)
			require.InDelta(t, k.cfg.Deadline.Seconds(), time.Since(begun).Seconds(), 0.1, name)
			_ = c.Close()
		}
		require.Equal(t, 3.0, k.requests("contoso", outcomeSlow))
		require.Equal(t, 1.0, k.requests("", outcomeSlow))
		require.NoError(t, stop())
		require.Zero(t, k.inFlight.Load())
	})
}

// A stranger who announces much and sends little must not take the memory of those who send.
func TestSlowBodiesHoldOnlyWhatTheySent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		var conns []net.Conn
		for range 200 { // they announce 1600 MiB of the 64
			c := dial()
			_, err := io.WriteString(c, head(notifyURL, 8<<20)+"{")
			require.NoError(t, err)
			conns = append(conns, c)
		}
		synctest.Wait()
		require.Equal(t, int64(200*64<<10), k.inFlight.Load())
		c := dial()
		body := envelope(rich(newState(t, "contoso")))
		_, err := io.WriteString(c, head(notifyURL, len(body))+body)
		require.NoError(t, err)
		require.Equal(t, http.StatusAccepted, answer(t, c).StatusCode)
		for _, c := range append(conns, c) {
			_ = c.Close()
		}
		synctest.Wait()
		require.Zero(t, k.inFlight.Load())
		require.Equal(t, 200.0, k.requests("contoso", outcomeAborted))
		require.NoError(t, stop())
	})
}

func TestBodiesInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		k := newKit(t, func(c *Config) { c.MaxBody, c.MaxInFlight = mib, 2*mib })
		release := make(chan struct{})
		k.store.hook = func(context.Context) error { <-release; return nil }
		dial, stop := k.serve(t)
		body := envelope(rich(newState(t, "contoso")))
		body += strings.Repeat(" ", mib-len(body))
		send := func() net.Conn {
			c := dial()
			_, err := io.WriteString(c, head(notifyURL, len(body))+body)
			require.NoError(t, err)
			return c
		}
		first, second := send(), send()
		synctest.Wait()
		require.Equal(t, int64(2*mib), k.inFlight.Load())

		third := dial()
		go func() { _, _ = io.WriteString(third, head(notifyURL, len(body))+body) }()
		resp := answer(t, third)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, "5", resp.Header.Get("Retry-After"))
		_ = third.Close()
		require.Equal(t, 1.0, k.requests("contoso", outcomeBusy))

		close(release)
		require.Equal(t, http.StatusAccepted, answer(t, first).StatusCode)
		require.Equal(t, http.StatusAccepted, answer(t, second).StatusCode)
		fourth := send()
		require.Equal(t, http.StatusAccepted, answer(t, fourth).StatusCode)
		for _, c := range []net.Conn{first, second, fourth} {
			_ = c.Close()
		}
		require.NoError(t, stop())
		require.Zero(t, k.inFlight.Load())
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, func(c *Config) { c.MaxConnections = 3 })
		release := make(chan struct{})
		k.store.hook = func(context.Context) error { <-release; return nil }
		dial, stop := k.serve(t)
		closed := func(c net.Conn) bool {
			synctest.Wait()
			_ = c.SetReadDeadline(time.Now())
			_, err := c.Read(make([]byte, 1))
			_ = c.SetReadDeadline(time.Time{})
			return errors.Is(err, io.EOF)
		}
		body := envelope(rich(newState(t, "contoso")))
		request := head(notifyURL, len(body)) + body

		busy, silent, idle := dial(), dial(), dial()
		_, err := io.WriteString(busy, request)
		require.NoError(t, err)
		_, err = io.WriteString(idle, head("/", 0))
		require.NoError(t, err)
		require.Equal(t, http.StatusNotFound, answer(t, idle).StatusCode)
		synctest.Wait()

		fourth := dial()
		require.True(t, closed(silent), "it never said anything")
		require.False(t, closed(idle))
		fifth := dial()
		require.True(t, closed(idle), "the next one that was quiet for longest")
		require.False(t, closed(fourth))
		require.False(t, closed(busy), "a request is under way")
		close(release)
		require.Equal(t, http.StatusAccepted, answer(t, busy).StatusCode)
		_, err = io.WriteString(fifth, request)
		require.NoError(t, err)
		require.Equal(t, http.StatusAccepted, answer(t, fifth).StatusCode)
		require.Equal(t, 2.0, testutil.ToFloat64(k.metrics.evicted))
		for _, c := range []net.Conn{busy, silent, idle, fourth, fifth} {
			_ = c.Close()
		}
		require.NoError(t, stop())
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		k.store.hook = func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("publish: %w", ctx.Err())
		}
		dial, stop := k.serve(t)
		c, body := dial(), envelope(rich(newState(t, "contoso")))
		start := time.Now()
		_, err := io.WriteString(c, head(notifyURL, len(body)))
		require.NoError(t, err)
		time.Sleep(2 * time.Second) // a slow sender has used up most of it
		_, err = io.WriteString(c, body)
		require.NoError(t, err)
		resp := answer(t, c)
		require.Equal(t, 2500*time.Millisecond, time.Since(start))
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Equal(t, "5", resp.Header.Get("Retry-After"))
		require.Equal(t, 1.0, k.requests("contoso", outcomeDeadline))
		_ = c.Close()
		require.NoError(t, stop())
	})
}

func TestConnectionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		c := dial()
		body := envelope(rich(newState(t, "contoso")))
		for _, pause := range []time.Duration{0, time.Second, idleTimeout - time.Second} {
			time.Sleep(pause)
			for range 3 {
				_, err := io.WriteString(c, head(notifyURL, len(body))+body)
				require.NoError(t, err)
				resp := answer(t, c)
				require.Equal(t, http.StatusAccepted, resp.StatusCode)
				require.False(t, resp.Close)
			}
		}
		require.Len(t, k.store.all(), 9)
		n, err := c.Read(make([]byte, 1)) // idle for too long
		require.Zero(t, n)
		require.Error(t, err)
		require.NoError(t, stop())
	})
}

// A client that sends its whole body before it looks for an answer finds one. The pipe holds nothing: a write comes
// to its end only when all of it was read.
func TestBodyThatIsTooLongIsAnsweredAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		k := newKit(t, func(c *Config) { c.MaxBody = limit })
		dial, stop := k.serve(t)
		for _, size := range []int{limit + 1, 2 * limit} {
			c := dial()
			_, err := io.WriteString(c, head(notifyURL, size)+strings.Repeat(" ", size))
			require.NoError(t, err)
			resp := answer(t, c)
			require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
			require.True(t, resp.Close)
		}
		c := dial() // one that announces too much to be waited for
		begin := time.Now()
		_, err := io.WriteString(c, head(notifyURL, 2*limit+1))
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestEntityTooLarge, answer(t, c).StatusCode)
		require.Zero(t, time.Since(begin))
		c = dial() // one that stops half way
		_, err = io.WriteString(c, head(notifyURL, 2*limit)+"{")
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestEntityTooLarge, answer(t, c).StatusCode)
		require.Equal(t, DefaultDeadline, time.Since(begin))
		require.NoError(t, stop())
	})
}

func TestHeaderLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		c := dial()
		go func() {
			_, _ = io.WriteString(c, "POST "+notifyURL+" HTTP/1.1\r\nHost: bridge\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
		}()
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer(t, c).StatusCode)
		_ = c.Close()
		require.NoError(t, stop())
	})
}

// The handshake's longest token, with every byte escaped, must pass the header limit.
func TestLongestTokenPassesTheHeaderLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		c := dial()
		token := strings.Repeat("%3C", maxValidationToken)
		_, err := io.WriteString(c, head(notifyURL+"?validationToken="+token, 0))
		require.NoError(t, err)
		resp := answer(t, c)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("<", maxValidationToken), string(body))
		_ = c.Close()
		require.NoError(t, stop())
	})
}

func TestClientThatGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		dial, stop := k.serve(t)
		for _, part := range []string{head(notifyURL, 100) + "{", head(notifyURL, -1) + "5\r\n{", head(notifyURL, -1) + "zz\r\n"} {
			c := dial()
			_, err := io.WriteString(c, part)
			require.NoError(t, err)
			if strings.HasSuffix(part, "zz\r\n") {
				require.Equal(t, http.StatusBadRequest, answer(t, c).StatusCode)
			}
			require.NoError(t, c.Close())
			synctest.Wait()
		}
		require.Equal(t, 3.0, k.requests("contoso", outcomeAborted))
		require.Zero(t, k.inFlight.Load())
		require.NoError(t, stop())
	})
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		storing, release := make(chan struct{}), make(chan struct{})
		k.store.hook = func(context.Context) error { close(storing); <-release; return nil }
		dial, stop := k.serve(t)
		busy, idle := dial(), dial()
		body := envelope(rich(newState(t, "contoso")))
		_, err := io.WriteString(busy, head(notifyURL, len(body))+body)
		require.NoError(t, err)
		<-storing
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Fatal("stopped with a request under way")
		default:
		}
		close(release)
		require.Equal(t, http.StatusAccepted, answer(t, busy).StatusCode)
		require.NoError(t, <-stopped)
		require.Len(t, k.store.all(), 1)
		_ = busy.Close()
		_ = idle.Close()
		refused := dial()
		_, err = refused.Write([]byte("x"))
		require.Error(t, err)
	})
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		release := make(chan struct{})
		k.store.hook = func(context.Context) error { <-release; return nil } // breaks its contract
		dial, stop := k.serve(t)
		c := dial()
		body := envelope(rich(newState(t, "contoso")))
		_, err := io.WriteString(c, head(notifyURL, len(body))+body)
		require.NoError(t, err)
		synctest.Wait()
		start := time.Now()
		require.ErrorIs(t, stop(), context.DeadlineExceeded)
		require.Equal(t, shutdownGrace, time.Since(start))
		close(release)
		_ = c.Close()
	})
}

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("no more descriptors") }
func (brokenListener) Close() error              { return nil }

func TestServeReportsALostListener(t *testing.T) {
	require.ErrorContains(t, newKit(t, nil).Serve(t.Context(), brokenListener{}), "no more descriptors")
}

func TestManyAtOnce(t *testing.T) {
	k := newKit(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Serve(ctx, ln) }()

	const senders, each = 16, 25
	bodies := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			account := []string{"contoso", "fabrikam"}[s%2]
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range each {
				state, err := NewClientState(testKey, account)
				if err != nil {
					t.Error(err)
					return
				}
				body := envelope(rich(state), rich("forged"), basic(fmt.Sprint(i)))
				var r io.Reader = strings.NewReader(body)
				if i%2 == 0 {
					r = io.MultiReader(r) // chunked
				}
				resp, err := client.Post("http://"+ln.Addr().String()+"/graph/"+account+"/notifications", "application/json", r)
				if err != nil || resp.StatusCode != http.StatusAccepted {
					t.Errorf("%v %v", resp, err)
					return
				}
				_ = resp.Body.Close()
				mu.Lock()
				bodies[account+body] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	cancel()
	require.NoError(t, <-done)
	got := k.store.all()
	require.Len(t, got, senders*each)
	for _, s := range got {
		require.True(t, bodies[s.account+s.body])
	}
	require.Zero(t, k.inFlight.Load())
	require.Equal(t, float64(senders*each/2), k.requests("contoso", outcomeStored))
}

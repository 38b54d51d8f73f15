package conformance

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// proxy stands between the connector and the site, and is cruel in the site's place.
type proxy struct {
	url    string
	server *http.Server
	ended  chan struct{}

	mu       sync.Mutex
	faults   faults
	streams  map[int]context.CancelFunc // open event streams
	next     int
	released chan struct{} // closed when streams are no longer stalled; nil: they are not
}

// faults are what is wrong at the moment; the zero value is nothing.
type faults struct {
	slow     time.Duration
	broken   bool
	throttle time.Duration
	failed   bool // writes land, and their answer is lost
	revoked  bool
}

func newProxy(ctx context.Context, site *url.URL, transport http.RoundTripper) (*proxy, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{url: "http://" + ln.Addr().String(), streams: map[int]context.CancelFunc{}, ended: make(chan struct{})}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(site) },
		Transport:      transport,
		FlushInterval:  -1, // events go on as they come
		ModifyResponse: p.answer,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: p.cruel(forward)}
	go func() {
		defer close(p.ended)
		_ = p.server.Serve(ln) // ends when it is closed
	}()
	return p, nil
}

func (p *proxy) close() error {
	p.mend()
	p.cut()
	err := p.server.Close()
	<-p.ended
	return err
}

// cruel does what is wrong at the moment, and forwards what is left.
func (p *proxy) cruel(forward http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		f := p.faults
		p.mu.Unlock()
		if f.slow > 0 {
			timer := time.NewTimer(f.slow)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		switch {
		case f.revoked:
			w.WriteHeader(http.StatusUnauthorized)
		case f.throttle > 0:
			w.Header().Set("Retry-After", strconv.Itoa(int(f.throttle.Seconds())))
			w.WriteHeader(http.StatusTooManyRequests)
		case f.broken:
			w.WriteHeader(http.StatusInternalServerError)
		case strings.HasSuffix(r.URL.Path, "/events"):
			ctx, done := p.open(r.Context())
			defer done()
			forward.ServeHTTP(w, r.WithContext(ctx))
		default:
			forward.ServeHTTP(w, r)
		}
	})
}

// open notes an event stream, so that it can be cut.
func (p *proxy) open(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	id := p.next
	p.next++
	p.streams[id] = cancel
	return ctx, func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.streams, id)
	}
}

// answer changes what the site said.
func (p *proxy) answer(r *http.Response) error {
	p.mu.Lock()
	lose := p.faults.failed && r.Request.Method == http.MethodPut
	p.mu.Unlock()
	if lose {
		_, _ = io.Copy(io.Discard, r.Body) // the write has landed; what it said is lost anyway
		err := r.Body.Close()
		r.StatusCode, r.Status, r.ContentLength, r.Body = http.StatusBadGateway, "502 Bad Gateway", 0, http.NoBody
		r.Header = http.Header{}
		return err
	}
	if strings.HasSuffix(r.Request.URL.Path, "/events") {
		r.Body = &stallable{r.Body, p, r.Request.Context()}
	}
	return nil
}

// stallable is a stream that falls silent.
type stallable struct {
	io.ReadCloser
	proxy *proxy
	ctx   context.Context
}

// Read waits while streams are stalled: what came meanwhile comes then.
func (s *stallable) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	for {
		s.proxy.mu.Lock()
		released := s.proxy.released
		s.proxy.mu.Unlock()
		if released == nil {
			return n, err
		}
		select {
		case <-released:
		case <-s.ctx.Done():
			return n, s.ctx.Err()
		}
	}
}

func (p *proxy) set(change func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.faults)
}

func (p *proxy) mend() {
	p.set(func(f *faults) { *f = faults{} })
	p.stall(false)
}

func (p *proxy) slow(d time.Duration)     { p.set(func(f *faults) { f.slow = d }) }
func (p *proxy) breakAll(on bool)         { p.set(func(f *faults) { f.broken = on }) }
func (p *proxy) throttle(d time.Duration) { p.set(func(f *faults) { f.throttle = d }) }
func (p *proxy) failApplied(on bool)      { p.set(func(f *faults) { f.failed = on }) }

func (p *proxy) revoke() (restore func()) {
	p.set(func(f *faults) { f.revoked = true })
	p.cut()
	return func() { p.set(func(f *faults) { f.revoked = false }) }
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cancel := range p.streams {
		cancel()
	}
}

func (p *proxy) stall(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.released == nil:
		p.released = make(chan struct{})
	case !on && p.released != nil:
		close(p.released)
		p.released = nil
	}
}

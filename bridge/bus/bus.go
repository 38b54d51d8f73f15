package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	reconnectWait = 250 * time.Millisecond
	// readyAfter is how long a timeout keeps the bus from being ready.
	readyAfter = 10 * time.Second
	// headerRoom is left for headers when a body is measured against the server's limit.
	headerRoom = 4 << 10
)

// Bus is an open bus. All methods may be called from any goroutine.
type Bus struct {
	cfg     Config
	metrics *metrics
	dir     *dataDir  // nil with an external server
	server  *embedded // nil with an external server
	nc      *nats.Conn
	js      jetstream.JetStream
	space   *space

	notifications *writer
	buckets       map[BucketName]*Bucket
	presence      *writer // nil when no history is kept
	decisions     *writer // nil when no history is kept

	mu        sync.Mutex
	streams   map[string]jetstream.Stream
	down      bool                 // nothing may be spawned any more
	claimed   map[string]bool      // accounts that are being consumed
	consuming map[string]*consumer // by which
	readTo    map[string]time.Time // per account: everything stored before was handed out

	timeouts   atomic.Int32 // publishes in a row that nobody answered
	timedOutAt atomic.Int64 // the last of them, Unix nanoseconds
	restart    chan struct{}
	restarting atomic.Bool

	ctx    context.Context // ends when the bus closes
	cancel context.CancelFunc
	wg     sync.WaitGroup // everything that runs until then
	closed atomic.Bool
}

// Open starts or connects the bus and makes its streams and buckets. It fails, rather than wait,
// when the data directory is in use or the external server cannot be reached.
func Open(ctx context.Context, cfg Config) (*Bus, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Bus{
		cfg:       cfg,
		streams:   make(map[string]jetstream.Stream),
		claimed:   make(map[string]bool),
		consuming: make(map[string]*consumer),
		readTo:    make(map[string]time.Time),
		restart:   make(chan struct{}, 1),
	}
	if b.metrics, err = newMetrics(cfg.Metrics); err != nil {
		return nil, err
	}
	// The bus outlives the context of its opening: only Close ends it.
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.shutdown(context.WithoutCancel(ctx), false))
	}
	return b, nil
}

func (b *Bus) open(ctx context.Context) error {
	if b.cfg.URL == "" {
		if err := b.openEmbedded(ctx); err != nil {
			return err
		}
	}
	if err := b.connect(); err != nil {
		return err
	}
	err := b.ensureStreams(ctx)
	if b.server != nil && isCode(err, codeStorageResources) {
		err = b.shrinkStreams(ctx)
	}
	if err != nil {
		return err
	}
	b.openWriters()
	b.wg.Go(b.housekeep)
	return nil
}

func (b *Bus) openEmbedded(ctx context.Context) error {
	dir, err := openDataDir(b.cfg.DataDir)
	if err != nil {
		return err
	}
	b.dir = dir
	b.space = newSpace(b.cfg, b.metrics)
	b.server = &embedded{dir: b.cfg.DataDir, sync: b.cfg.Sync, max: b.cfg.MaxStore, log: b.cfg.Log}
	return b.server.start(ctx)
}

func (b *Bus) connect() error {
	opts := []nats.Option{
		nats.Name("presence-bridge"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		// What cannot be sent now fails now: the caller knows how to retry, a buffer does not.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if !b.closed.Load() {
				b.cfg.Log.Warn("nats disconnected", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { b.cfg.Log.Info("nats reconnected") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.cfg.Log.Warn("nats reports an error", "err", err)
		}),
	}
	url := b.cfg.URL
	if b.server != nil {
		opts = append(opts, nats.InProcessServer(b.server))
	}
	if b.cfg.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(b.cfg.CredentialsFile))
	}
	if b.cfg.CAFile != "" {
		opts = append(opts, nats.RootCAs(b.cfg.CAFile))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return fmt.Errorf("bus: %w: connecting to nats.url: %w", ErrUnavailable, err)
	}
	b.nc = nc
	b.js, err = jetstream.New(nc, jetstream.WithPublishAsyncTimeout(b.cfg.PublishTimeout))
	if err != nil {
		return fmt.Errorf("bus: %w", err)
	}
	return nil
}

func (b *Bus) openWriters() {
	b.notifications = newWriter(b, streamGraphIn, notificationLimits)
	b.buckets = make(map[BucketName]*Bucket)
	for _, name := range []BucketName{State, Directory, Monitors, Replicas} {
		stream := kvPrefix + string(name)
		b.buckets[name] = &Bucket{bus: b, name: name, stream: stream, writer: newWriter(b, stream, bucketLimits)}
	}
	if b.cfg.History > 0 {
		b.presence = newWriter(b, streamPresence, feedLimits)
		b.decisions = newWriter(b, streamDecisions, feedLimits)
	}
}

func (b *Bus) writers() []*writer {
	var ws []*writer
	for _, w := range []*writer{b.notifications, b.presence, b.decisions} {
		if w != nil {
			ws = append(ws, w)
		}
	}
	for _, k := range b.buckets {
		ws = append(ws, k.writer)
	}
	return ws
}

// spawn runs f in a goroutine that Close waits for; false if it is too late for that.
func (b *Bus) spawn(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return false
	}
	b.wg.Go(f)
	return true
}

func (b *Bus) setStream(name string, s jetstream.Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.streams[name] = s
}

func (b *Bus) stream(name string) jetstream.Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.streams[name]
}

// CleanStart tells whether the process that used the data directory before stopped cleanly. False
// means that both sides have to be read in full: after a crash, on the very first start, and always
// with an external server, where nobody knows how the last owner of an account stopped.
func (b *Bus) CleanStart() bool { return b.dir != nil && b.dir.clean != nil }

// Ready is nil while the bus accepts and delivers; otherwise it says why not.
func (b *Bus) Ready() error {
	switch {
	case b.closed.Load():
		return ErrClosed
	case b.restarting.Load():
		return fmt.Errorf("%w: the embedded server is being restarted", ErrUnavailable)
	}
	if b.server != nil {
		if err := b.server.running(); err != nil {
			return err
		}
		if err := b.space.check(); err != nil {
			return err
		}
	}
	if !b.nc.IsConnected() {
		return fmt.Errorf("%w: not connected to nats (%s)", ErrUnavailable, b.nc.Status())
	}
	// Only for a while: if not being ready keeps the stores away, nothing would ever tell that the
	// server is back.
	if at := b.timedOutAt.Load(); b.timeouts.Load() > 0 && time.Since(time.Unix(0, at)) < readyAfter {
		return fmt.Errorf("%w: %d stores in a row timed out", ErrUnavailable, b.timeouts.Load())
	}
	return nil
}

// MaxBody is the largest body, in bytes, that one message takes; larger ones are split.
func (b *Bus) MaxBody() int64 { return b.nc.MaxPayload() - headerRoom }

// Close refuses new work, writes what waits, ends every Consume, stops the embedded server, and
// gives the data directory back. When ctx ends before everything was written, the rest is given up
// and the next start is not a clean one.
func (b *Bus) Close(ctx context.Context) error {
	if !b.closed.CompareAndSwap(false, true) {
		return nil
	}
	var err error
	for _, w := range b.writers() {
		err = errors.Join(err, w.close(ctx))
	}
	return errors.Join(err, b.shutdown(ctx, err == nil))
}

// wait waits for everything that runs. A handler of a body or of a command that hangs does not keep
// the process from stopping.
func (b *Bus) wait(ctx context.Context) error {
	ended := make(chan struct{})
	go func() { b.wg.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("bus: closing: a handler is still at work: %w", ctx.Err())
	}
}

// shutdown takes down whatever open has built so far.
func (b *Bus) shutdown(ctx context.Context, clean bool) error {
	b.closed.Store(true)
	b.mu.Lock()
	b.down = true
	b.mu.Unlock()
	b.cancel()
	err := b.wait(ctx)
	if b.nc != nil {
		if flushed := b.nc.FlushTimeout(b.cfg.PublishTimeout); flushed != nil {
			// Acknowledgements on their way are lost: those bodies are handed out again.
			b.cfg.Log.Warn("nats was not flushed before closing", "err", flushed)
			clean = false
		}
		b.nc.Close()
	}
	if b.server != nil {
		b.server.stop()
	}
	if b.dir != nil {
		b.mu.Lock()
		stop := &cleanStop{At: time.Now().UTC(), ReadTo: b.readTo}
		b.mu.Unlock()
		if !clean || err != nil {
			stop = nil
		}
		err = errors.Join(err, b.dir.release(stop))
	}
	b.metrics.unregister()
	return err
}

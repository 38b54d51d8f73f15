package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// commandServer answers the commands of one account.
type commandServer struct {
	bus    *Bus
	handle func(ctx context.Context, req []byte) []byte
	slots  chan struct{}
	ctx    context.Context // ends with stop
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	wg      sync.WaitGroup
}

// accept takes one command off the connection; it never blocks it.
func (s *commandServer) accept(m *nats.Msg) {
	select {
	case s.slots <- struct{}{}:
	default:
		s.answer(m, nil, reasonBusy)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		<-s.slots
		s.answer(m, nil, reasonClosed)
		return
	}
	s.wg.Add(1)
	served := s.bus.spawn(func() {
		defer s.wg.Done()
		defer func() { <-s.slots }()
		ctx, cancel := context.WithTimeout(s.ctx, timeoutOf(m))
		defer cancel()
		answer := s.handle(ctx, m.Data)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return // the caller's patience began before ours and is over
		}
		if answer == nil {
			return // it is another replica's to answer
		}
		s.answer(m, answer, "")
	})
	if !served { // the bus has closed
		<-s.slots
		s.wg.Done()
	}
}

// timeoutOf is how long the caller waits; without a word of it, as long as callers usually do.
func timeoutOf(m *nats.Msg) time.Duration {
	d, err := time.ParseDuration(m.Header.Get(headerTimeout))
	if err != nil {
		return commandTimeout
	}
	return d
}

func (s *commandServer) answer(m *nats.Msg, data []byte, refused reason) {
	if int64(len(data)) > s.bus.MaxBody() {
		data, refused = nil, reasonTooLarge
	}
	r := nats.NewMsg(m.Reply)
	r.Data = data
	if refused != "" {
		r.Header.Set(headerRefused, string(refused))
	}
	if err := m.RespondMsg(r); err != nil {
		s.bus.cfg.Log.Warn("a command's answer was not sent", "subject", m.Subject, "err", err)
	}
}

// stop refuses what still comes and waits for the handlers that run.
func (s *commandServer) stop(sub *nats.Subscription) {
	if err := sub.Unsubscribe(); err != nil && !s.bus.closed.Load() {
		s.bus.cfg.Log.Warn("commands were not unsubscribed", "err", err)
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cancel()
	s.wg.Wait()
}

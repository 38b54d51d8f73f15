package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// commandTimeout is how long a command may take when the caller's context sets no limit.
	commandTimeout = 10 * time.Second
	// commandLimit is how many commands of one account are served at the same time.
	commandLimit = 16
	// againPause is how long a command waits for the next owner.
	againPause = 100 * time.Millisecond
	// headerTimeout is how long the caller waits.
	headerTimeout = "Presence-Timeout"
	// headerRefused carries the reason why no answer came from the handler.
	headerRefused = "Presence-Refused"
)

// ServeCommands answers the commands that are sent to the owner of the account, up to 16 at a time;
// more are refused with [ErrBusy]. The context of h ends with the caller's patience at the latest, and
// when stop is called, which waits for the handlers that run. An answer of nil is not sent: h has found out that
// another replica owns the account. Everybody who serves an account gets its commands, since one that was halted
// cannot say so, and would take its share of them with it.
func (b *Bus) ServeCommands(account string, h func(ctx context.Context, req []byte) []byte) (stop func(), err error) {
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	if b.closed.Load() {
		return nil, ErrClosed
	}
	s := &commandServer{bus: b, handle: h, slots: make(chan struct{}, commandLimit)}
	s.ctx, s.cancel = context.WithCancel(b.ctx)
	sub, err := b.nc.Subscribe(subjectCommands+account, s.accept)
	if err != nil {
		s.cancel()
		return nil, fmt.Errorf("bus: serving commands of %s: %w", account, fromNATS(err))
	}
	return func() { s.stop(sub) }, nil
}

// Command sends a command to the owner of the account and returns its answer. It waits for ten
// seconds when ctx has no deadline of its own. [ErrNoOwner]: nobody serves the account.
func (b *Bus) Command(ctx context.Context, account string, req []byte) ([]byte, error) {
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	if b.closed.Load() {
		return nil, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, b.patience(ctx))
	defer cancel()
	m := &nats.Msg{Subject: subjectCommands + account, Data: req, Header: nats.Header{}}
	// How long, not until when: the owner's clock is its own.
	m.Header.Set(headerTimeout, b.patience(ctx).String())
	answer, err := b.request(ctx, m)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		err = ErrNoOwner
	case err != nil:
		err = fromNATS(err)
	default:
		err = refusal(answer.Header.Get(headerRefused))
	}
	if err != nil {
		return nil, fmt.Errorf("bus: command to the owner of %s: %w", account, err)
	}
	return answer.Data, nil
}

// request sends a command, again if it came to an owner that was just giving the account up.
func (b *Bus) request(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	for {
		answer, err := b.nc.RequestMsgWithContext(ctx, m)
		if err != nil || answer.Header.Get(headerRefused) != string(reasonClosed) || b.closed.Load() {
			return answer, err
		}
		pause(ctx, againPause, nil)
		if ctx.Err() != nil {
			return answer, nil
		}
		m.Header.Set(headerTimeout, b.patience(ctx).String())
	}
}

func (b *Bus) patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return commandTimeout
}

func refusal(r string) error {
	switch reason(r) {
	case "":
		return nil
	case reasonBusy:
		return ErrBusy
	case reasonTooLarge:
		return fmt.Errorf("the answer: %w", ErrTooLarge)
	default:
		return fmt.Errorf("%w: refused: %s", ErrUnavailable, r)
	}
}

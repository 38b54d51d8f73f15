package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// ObservationType is the CloudEvents type of an observation.
	ObservationType = "presence-bridge.observation.v1"
	// headerTime is when a decision was taken, RFC 3339 with nanoseconds.
	headerTime        = "Presence-Time"
	headerContentType = "Content-Type"
	contentDecision   = "application/json"
)

// PublishDecision tells the feed DECISIONS, which `explain` reads, what was decided about a member.
// It neither waits nor fails: at most 16 MiB wait to be stored (a decision counts as its size and
// 1 KiB), and what is beyond that, or cannot be stored, is dropped and counted. The bytes must not
// be changed afterwards.
func (b *Bus) PublishDecision(account, member string, json []byte) {
	if b.decisions == nil {
		return // no history is kept
	}
	m := &nats.Msg{Data: json, Header: nats.Header{}}
	err := checkMember(account, member)
	if err == nil {
		m.Subject = subjectDecisions + account + "." + token(member)
		m.Header.Set(headerTime, time.Now().UTC().Format(time.RFC3339Nano))
		m.Header.Set(headerContentType, contentDecision)
	}
	b.feed(b.decisions, account, m, err)
}

// PublishObservation tells the feed PRESENCE what one side (`teams`, or `pbx.<pbx>.<endpoint>`) said
// about a member. The JSON becomes the data of a CloudEvents 1.0 event in structured mode. Bounds
// are those of PublishDecision.
func (b *Bus) PublishObservation(account, member, side string, json []byte) {
	if b.presence == nil {
		return
	}
	m, err := observation(account, member, side, json, time.Now())
	b.feed(b.presence, account, m, err)
}

func checkMember(account, member string) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	if member == "" {
		return fmt.Errorf("%w: the member is empty", ErrInvalid)
	}
	return nil
}

func observation(account, member, side string, data []byte, at time.Time) (*nats.Msg, error) {
	if err := checkMember(account, member); err != nil {
		return nil, err
	}
	sideTok, err := sideToken(side)
	if err != nil {
		return nil, err
	}
	e := event.New(event.CloudEventsVersionV1)
	e.SetID(uuid.NewString())
	e.SetSource("/accounts/" + account)
	e.SetType(ObservationType)
	e.SetSubject(member + "/" + side)
	e.SetTime(at)
	if err := e.SetData(event.ApplicationJSON, json.RawMessage(data)); err != nil {
		return nil, fmt.Errorf("%w: the observation is not JSON: %w", ErrInvalid, err)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("%w: the observation makes no event: %w", ErrInvalid, err)
	}
	m := &nats.Msg{
		Subject: subjectPresence + account + "." + token(member) + "." + sideTok,
		Data:    body,
		Header:  nats.Header{},
	}
	m.Header.Set(headerContentType, event.ApplicationCloudEventsJSON)
	return m, nil
}

// feed queues a message for a feed, or counts it as dropped.
func (b *Bus) feed(w *writer, account string, m *nats.Msg, err error) {
	drop := func(err error) {
		b.metrics.dropped.WithLabelValues(account, w.stream, string(reasonOf(err))).Inc()
		b.cfg.Log.Debug("dropped", "stream", w.stream, "account", account, "err", err)
	}
	if err == nil {
		err = b.accepting()
	}
	if err == nil {
		err = w.tryEnqueue(m, false, func(_ uint64, err error) {
			if err != nil {
				drop(err)
			}
		})
	}
	if errors.Is(err, ErrInvalid) {
		account = "" // a stranger's string is no label
	}
	if err != nil {
		drop(err)
	}
}

// Decisions visits what was decided about a member since that time, oldest first, and stops at the
// first error. Without history there is nothing to visit.
func (b *Bus) Decisions(ctx context.Context, account, member string, since time.Time, each func(at time.Time, json []byte) error) error {
	if err := checkMember(account, member); err != nil {
		return err
	}
	if b.decisions == nil {
		return nil
	}
	config := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjectDecisions + account + "." + token(member)},
		DeliverPolicy:  jetstream.DeliverAllPolicy,
	}
	if !since.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	err := b.scan(ctx, scan{stream: streamDecisions, config: config}, func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
		at, err := time.Parse(time.RFC3339Nano, m.Headers().Get(headerTime))
		if err != nil {
			at = meta.Timestamp
		}
		// It was stored after it was taken, so the stream's own time is only the first sieve.
		if at.Before(since) {
			return nil
		}
		return each(at, m.Data())
	})
	if err != nil {
		return fmt.Errorf("bus: reading decisions of %s: %w", account, err)
	}
	return nil
}

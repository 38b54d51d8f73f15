package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"
)

// Observation is one item of the feed PRESENCE.
type Observation struct {
	At     time.Time
	Member string
	Side   string // `teams`, or `pbx.<pbx>.<endpoint>`
	Data   []byte // JSON, as it was published
}

// errReadEnough ends a scan that has seen what was there when it began.
var errReadEnough = errors.New("bus: read enough")

// Observations visits what was observed in an account since that time, of all members, in the order in which it was
// stored, and stops at the first error. What comes after it began is not visited. Without history there is nothing to
// visit. An event that is not one of ours, in a stream that others may write to, is left out.
func (b *Bus) Observations(ctx context.Context, account string, since time.Time, each func(Observation) error) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	if b.presence == nil {
		return nil
	}
	config := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjectPresence + account + ".>"},
		DeliverPolicy:  jetstream.DeliverAllPolicy,
	}
	if !since.IsZero() {
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	began := time.Now()
	err := b.scan(ctx, scan{stream: streamPresence, config: config}, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		o, ok := readObservation(m.Data())
		if o.At.After(began) {
			return errReadEnough // under load there is always one more
		}
		if !ok || o.At.Before(since) {
			return nil
		}
		return each(o)
	})
	if err != nil && !errors.Is(err, errReadEnough) {
		return fmt.Errorf("bus: reading observations of %s: %w", account, err)
	}
	return nil
}

// readObservation is the inverse of observation.
func readObservation(body []byte) (Observation, bool) {
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil || e.Type() != ObservationType {
		return Observation{}, false
	}
	member, side, ok := strings.Cut(e.Subject(), "/")
	if !ok || member == "" || side == "" {
		return Observation{}, false
	}
	return Observation{At: e.Time(), Member: member, Side: side, Data: e.Data()}, true
}

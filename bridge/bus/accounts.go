package bus

import (
	"context"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Accounts are the accounts that have entries in the bucket, configured or not, sorted.
func (k *Bucket) Accounts(ctx context.Context) ([]string, error) {
	if k.name == Replicas {
		return nil, nil // it has no accounts
	}
	pre := k.name.prefix()
	barrier, err := k.barrier(ctx, pre)
	if err != nil {
		return nil, k.wrap("listing", "", err)
	}
	found := map[string]bool{}
	err = k.bus.scan(ctx, scan{
		stream:  k.stream,
		config:  jetstream.OrderedConsumerConfig{FilterSubjects: []string{pre + ">"}, DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, HeadersOnly: true},
		barrier: barrier,
	}, func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
		if account, _, ok := strings.Cut(strings.TrimPrefix(m.Subject(), pre), "."); ok && !isMarker(m.Headers()) {
			found[account] = true
		}
		return nil
	})
	if err != nil {
		return nil, k.wrap("listing", "", err)
	}
	out := make([]string, 0, len(found))
	for account := range found {
		out = append(out, account)
	}
	slices.Sort(out)
	return out, nil
}

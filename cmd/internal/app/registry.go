package app

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// shared counts who uses a collector: several accounts share those that carry the account as a label.
type shared struct {
	reg *prometheus.Registry

	mu    sync.Mutex
	users map[prometheus.Collector]int
}

func newShared(reg *prometheus.Registry) *shared {
	return &shared{reg: reg, users: map[prometheus.Collector]int{}}
}

// tenureMetrics is where one account registers what it measures while it runs in this process. When it ends, its figures
// go: a replica that does not own an account says nothing about it.
type tenureMetrics struct {
	shared  *shared
	account string

	mu   sync.Mutex
	mine map[prometheus.Collector]bool
}

func (s *shared) of(account string) *tenureMetrics {
	return &tenureMetrics{shared: s, account: account, mine: map[prometheus.Collector]bool{}}
}

// Register implements prometheus.Registerer.
func (m *tenureMetrics) Register(c prometheus.Collector) error {
	m.shared.mu.Lock()
	defer m.shared.mu.Unlock()
	err := m.shared.reg.Register(c)
	if already := (prometheus.AlreadyRegisteredError{}); errors.As(err, &already) {
		c = already.ExistingCollector
	} else if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.mine[c] {
		m.mine[c] = true
		m.shared.users[c]++
	}
	return err
}

// MustRegister implements prometheus.Registerer.
func (m *tenureMetrics) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := m.Register(c); err != nil {
			m.shared.reg.MustRegister(c) // which fails again, in the way that the interface promises
		}
	}
}

// Unregister implements prometheus.Registerer.
func (m *tenureMetrics) Unregister(c prometheus.Collector) bool {
	m.mu.Lock()
	had := m.mine[c]
	delete(m.mine, c)
	m.mu.Unlock()
	return had && m.shared.drop(c, m.account)
}

// end takes everything back.
func (m *tenureMetrics) end() {
	m.mu.Lock()
	mine := m.mine
	m.mine = map[prometheus.Collector]bool{}
	m.mu.Unlock()
	for c := range mine {
		m.shared.drop(c, m.account)
	}
}

// drop takes one account's share in a collector away, and the collector with the last one.
func (s *shared) drop(c prometheus.Collector, account string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[c]--
	if s.users[c] > 0 {
		if vec, ok := c.(interface {
			DeletePartialMatch(labels prometheus.Labels) int
		}); ok {
			vec.DeletePartialMatch(prometheus.Labels{"account": account})
		}
		return false
	}
	delete(s.users, c)
	return s.reg.Unregister(c)
}

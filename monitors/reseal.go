package monitors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Rotation of the master key. Every sealed value of the bucket is sealed again under the newest key: by the owner of the
// account while it runs ([Manager.Reseal]), or by whoever has the bucket to himself ([ResealStored]). Both write by
// compare-and-set, so that they may meet, and both can be repeated. Whatever a Manager writes it first brings under
// the newest key (flush), so that nothing sealed under an older one can follow.

// Resealed counts what was done.
type Resealed struct {
	Values     int `json:"values"`     // sealed values there are
	Resealed   int `json:"resealed"`   // of them, sealed again now
	Unreadable int `json:"unreadable"` // of them, those that no key opens: they are left as they are, and are worth nothing
}

func (r *Resealed) add(o Resealed) {
	r.Values += o.Values
	r.Resealed += o.Resealed
	r.Unreadable += o.Unreadable
}

// resealer seals the values of one account again.
type resealer struct {
	sealer  Sealer
	account string
	done    Resealed
}

// value is the value sealed under the newest key, or as it was.
func (x *resealer) value(sealed, context []byte) []byte {
	if len(sealed) == 0 {
		return sealed
	}
	x.done.Values++
	if x.sealer.Newest(sealed) {
		return sealed
	}
	plain, err := x.sealer.Open(sealed, context)
	if err != nil {
		x.done.Unreadable++
		return sealed
	}
	again, err := x.sealer.Seal(plain, context)
	if err != nil {
		x.done.Unreadable++
		return sealed
	}
	x.done.Resealed++
	return again
}

// record seals what is in a record. What it points to is replaced, not changed: others may be reading it.
func (x *resealer) record(key string, r *record) {
	in := func(what string) []byte { return sealContext(x.account, key, what) }
	r.Token = x.value(r.Token, in(sealedToken))
	r.Own = x.value(r.Own, in(sealedSecret))
	if r.SignIn != nil {
		s := *r.SignIn
		s.Sealed = x.value(s.Sealed, in(sealedSignIn))
		r.SignIn = &s
	}
	if r.Subscription != nil {
		s := *r.Subscription
		s.ClientState = x.value(s.ClientState, in(sealedClientState))
		r.Subscription = &s
	}
	if r.Asked != nil {
		a := *r.Asked
		a.ClientState = x.value(a.ClientState, in(sealedClientState))
		r.Asked = &a
	}
}

func (x *resealer) certificates(list []certificate) {
	for i := range list {
		list[i].Key = x.value(list[i].Key, certificateContext(x.account, list[i].ID))
	}
}

// entry seals a stored entry, and tells whether it has to be written.
func (x *resealer) entry(e Entry) (value []byte, changed bool, err error) {
	before := x.done.Resealed
	var doc any
	if e.Key == certificatesKey {
		var c certificates
		if err := json.Unmarshal(e.Value, &c); err != nil {
			return nil, false, nil //nolint:nilerr // what cannot be read holds nothing that could be sealed
		}
		x.certificates(c.Certificates)
		doc = c
	} else {
		var r record
		if err := json.Unmarshal(e.Value, &r); err != nil {
			return nil, false, nil //nolint:nilerr // the same
		}
		x.record(e.Key, &r)
		doc = &r
	}
	if x.done.Resealed == before {
		return nil, false, nil
	}
	value, err = json.Marshal(doc)
	return value, true, err
}

// ResealStored seals everything again that the store holds of an account, whether or not it is configured. An account
// that a Manager runs is its [Manager.Reseal]'s to do; meeting it does no harm.
func ResealStored(ctx context.Context, account string, store Store, sealer Sealer) (Resealed, error) {
	var keys []string
	err := store.All(ctx, account, func(e Entry) error {
		keys = append(keys, e.Key)
		return nil
	})
	if err != nil {
		return Resealed{}, fmt.Errorf("monitors: list what account %s has stored: %w", account, err)
	}
	var sum Resealed
	for _, key := range keys {
		done, err := resealKey(ctx, account, key, store, sealer)
		sum.add(done)
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func resealKey(ctx context.Context, account, key string, store Store, sealer Sealer) (Resealed, error) {
	for try := 0; ; try++ {
		e, err := store.Get(ctx, account, key)
		if errors.Is(err, ErrNotFound) {
			return Resealed{}, nil
		}
		if err != nil {
			return Resealed{}, fmt.Errorf("monitors: read %s: %w", key, err)
		}
		x := resealer{sealer: sealer, account: account}
		value, changed, err := x.entry(e)
		if err == nil && changed {
			_, err = store.Put(ctx, account, key, value, e.Revision)
		}
		if errors.Is(err, ErrConflict) && try < 10 {
			continue
		}
		if err != nil {
			return Resealed{}, fmt.Errorf("monitors: seal %s again: %w", key, err)
		}
		return x.done, nil
	}
}

// Reseal seals everything of the account again under the newest key, stored and in memory, and returns when that is
// stored. From the moment it is called nothing is stored any more that an older key sealed.
func (m *Manager) Reseal(ctx context.Context) (Resealed, error) {
	if err := m.Prepare(ctx); err != nil {
		return Resealed{}, err
	}
	var sum Resealed
	done, err := m.resealCertificates(ctx)
	sum.add(done)
	if err != nil {
		return sum, err
	}
	m.mu.Lock()
	all := append([]*monitor{}, m.active()...)
	all = append(all, m.retired...)
	m.mu.Unlock()
	known := map[string]bool{certificatesKey: true}
	for _, mo := range all {
		known[mo.id] = true
		done, err := mo.reseal(ctx)
		sum.add(done)
		if err != nil {
			return sum, err
		}
	}
	var others []string // that nobody can read as a monitor
	err = m.cfg.Store.All(ctx, m.cfg.Account, func(e Entry) error {
		if !known[e.Key] {
			others = append(others, e.Key)
		}
		return nil
	})
	if err != nil {
		return sum, fmt.Errorf("monitors: list what account %s has stored: %w", m.cfg.Account, err)
	}
	for _, key := range others {
		done, err := resealKey(ctx, m.cfg.Account, key, m.cfg.Store, m.cfg.Sealer)
		sum.add(done)
		if err != nil {
			return sum, err
		}
	}
	m.outdate() // clientStates may follow from the older key
	m.log.Info("stored secrets were sealed again", "values", sum.Values, "resealed", sum.Resealed, "unreadable", sum.Unreadable)
	return sum, nil
}

// reseal seals the monitor's secrets again. The change says nothing: storing it does it.
func (mo *monitor) reseal(ctx context.Context) (Resealed, error) {
	x := resealer{sealer: mo.m.cfg.Sealer, account: mo.m.cfg.Account}
	mo.mu.Lock()
	rec := mo.rec
	mo.mu.Unlock()
	x.record(mo.id, &rec) // to count
	if x.done.Resealed == 0 {
		return x.done, mo.flush(ctx)
	}
	return x.done, mo.change(ctx, func(*record) {})
}

// freshen brings what is about to be stored under the newest key. mu is held.
func (mo *monitor) freshen() {
	x := resealer{sealer: mo.m.cfg.Sealer, account: mo.m.cfg.Account}
	x.record(mo.id, &mo.rec)
}

// resealCertificates does the same for the private keys of the encryption certificates.
func (m *Manager) resealCertificates(ctx context.Context) (Resealed, error) {
	m.certStore.Lock()
	defer m.certStore.Unlock()
	return resealKey(ctx, m.cfg.Account, certificatesKey, m.cfg.Store, m.cfg.Sealer)
}

// sealContext binds a sealed value to its place, so that it opens nowhere else.
func sealContext(account, key, what string) []byte {
	return []byte("monitors/" + account + "/" + key + "/" + what)
}

func certificateContext(account, id string) []byte {
	return []byte("monitors/" + account + "/certificate/" + id)
}

// What is sealed in a monitor's record.
const (
	sealedToken       = "refresh-token"
	sealedSignIn      = "sign-in"
	sealedClientState = "client-state"
	sealedSecret      = "client-secret"
)

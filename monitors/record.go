package monitors

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// record is the stored form of a monitor. Tokens and client states in it are sealed.
type record struct {
	UPN    string `json:"upn"`
	Status        // of unset, authorized, needs_update, needs_attention, retired; authorizing is not stored
	// TenantID and ClientID are what it was authorised for.
	TenantID string    `json:"tenant_id,omitempty"`
	ClientID string    `json:"client_id,omitempty"`
	ObjectID string    `json:"object_id,omitempty"`
	Token    []byte    `json:"token,omitempty"` // sealed refresh token
	SignedIn time.Time `json:"signed_in,omitzero"`
	// Own is a client secret of the application OwnOf for this monitor alone, sealed.
	Own   []byte `json:"own,omitempty"`
	OwnOf string `json:"own_of,omitempty"`
	// SignIn is a sign-in that nobody has finished yet. Whoever brings its state back, or enters its code, finishes
	// it, after a restart of the bridge as well. The write that stores the token takes it away.
	SignIn *pendingSignIn `json:"sign_in,omitempty"`

	// Added: it is a monitor although it is not configured. Removed: it is none although it is configured.
	Added   bool `json:"added,omitempty"`
	Removed bool `json:"removed,omitempty"`

	// Shard is the one that Members are, or were; empty if another monitor has taken it over.
	Shard string `json:"shard,omitempty"`
	// Members are whom the subscription watches; without one, whom the last one watched: a restart
	// begins the assignment with them, so that nobody moves.
	Members      []string      `json:"members,omitempty"`
	Subscription *subscription `json:"subscription,omitempty"`
	// Asked is a subscription that was asked for and not yet answered, written before the request: if the
	// answer is lost with the process, the subscription is known again.
	Asked *asked `json:"asked,omitempty"`
}

// pendingSignIn is a sign-in that waits for a person.
type pendingSignIn struct {
	ID      string    `json:"id"`
	Method  Method    `json:"method"`
	Sealed  []byte    `json:"sealed"` // a SignIn, or a DeviceCode
	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
	// What it was begun for: a sign-in for anything else is worth nothing.
	TenantID string `json:"tenant_id"`
	ClientID string `json:"client_id"`
}

// subscription is one that Graph has confirmed.
type subscription struct {
	ID          string    `json:"id"`
	ClientState []byte    `json:"client_state,omitempty"` // sealed
	Certificate string    `json:"certificate"`
	Created     time.Time `json:"created"`
	Renewed     time.Time `json:"renewed"`  // or created
	Returned    time.Time `json:"returned"` // the expiry as Graph said it
	Expires     time.Time `json:"expires"`  // by our clock
}

// asked is a subscription that may exist.
type asked struct {
	ClientState []byte    `json:"client_state"` // sealed
	Certificate string    `json:"certificate"`
	Members     []string  `json:"members"`
	At          time.Time `json:"at"`
}

// ID is how a monitor is called in keys, logs and metrics, where its address must not stand.
func ID(upn string) string {
	h := sha256.Sum256([]byte(canonicalUPN(upn)))
	return "m-" + hex.EncodeToString(h[:8])
}

func canonicalUPN(upn string) string { return strings.ToLower(strings.TrimSpace(upn)) }

// change alters the record and stores it. When the store fails, the change stays in memory and goes out
// with the next one (or with flush); when somebody else wrote, the change is made to theirs.
func (mo *monitor) change(ctx context.Context, alter func(*record)) error {
	mo.mu.Lock()
	alter(&mo.rec)
	mo.unsaved = append(mo.unsaved, alter)
	mo.mu.Unlock()
	return mo.flush(ctx)
}

// flush stores what is not stored yet. One at a time.
func (mo *monitor) flush(ctx context.Context) error {
	mo.saving.Lock()
	defer mo.saving.Unlock()
	for try := 0; ; try++ {
		mo.mu.Lock()
		n, rev := len(mo.unsaved), mo.rev
		if n == 0 {
			mo.mu.Unlock()
			return nil
		}
		mo.freshen()
		value, err := json.Marshal(mo.rec)
		mo.mu.Unlock()
		if err != nil {
			return fmt.Errorf("monitors: encode %s: %w", mo.id, err)
		}
		rev, err = mo.m.cfg.Store.Put(ctx, mo.m.cfg.Account, mo.id, value, rev)
		if err == nil {
			mo.mu.Lock()
			mo.rev, mo.unsaved = rev, mo.unsaved[n:]
			mo.mu.Unlock()
			return nil
		}
		if !errors.Is(err, ErrConflict) || try == 3 {
			return fmt.Errorf("monitors: store %s: %w", mo.id, err)
		}
		if err := mo.reload(ctx); err != nil {
			return err
		}
	}
}

// reload takes the stored record and makes the changes to it that were not stored yet. They are all
// assignments, so making one again that had landed changes nothing.
func (mo *monitor) reload(ctx context.Context) error {
	e, err := mo.m.cfg.Store.Get(ctx, mo.m.cfg.Account, mo.id)
	if errors.Is(err, ErrNotFound) {
		e, err = Entry{}, nil
	}
	if err != nil {
		return fmt.Errorf("monitors: read %s again: %w", mo.id, err)
	}
	var rec record
	if err := json.Unmarshal(e.Value, &rec); err != nil {
		if e.Value != nil {
			mo.m.log.Warn("stored monitor cannot be read, it is written anew", "monitor", mo.id)
		}
		rec = record{UPN: mo.upn, Status: unset()}
	}
	mo.mu.Lock()
	defer mo.mu.Unlock()
	for _, alter := range mo.unsaved {
		alter(&rec)
	}
	mo.rec, mo.rev = rec, e.Revision
	return nil
}

// sealContext binds a sealed value to its place.
func (mo *monitor) sealContext(what string) []byte { return sealContext(mo.m.cfg.Account, mo.id, what) }

// LoadRefreshToken opens the monitor's refresh token, for [TokenStore]. One that was sealed under another
// master key is as good as none: somebody has to sign in again.
func (mo *monitor) LoadRefreshToken(context.Context) (string, error) {
	mo.mu.Lock()
	sealed := mo.rec.Token
	mo.mu.Unlock()
	if len(sealed) == 0 {
		return "", nil
	}
	token, err := mo.m.cfg.Sealer.Open(sealed, mo.sealContext(sealedToken))
	if err != nil {
		mo.m.log.Error("a monitor's stored sign-in cannot be opened", "monitor", mo.id, "error", err)
		return "", nil
	}
	return string(token), nil
}

// SaveRefreshToken seals and stores the token that a use has brought, for [TokenStore]. If the store
// fails, it is used all the same and stored later; the token before it stays valid
// (learn: entra refresh-tokens), so that a crash in between costs nothing.
func (mo *monitor) SaveRefreshToken(ctx context.Context, token string) error {
	sealed, err := mo.m.cfg.Sealer.Seal([]byte(token), mo.sealContext(sealedToken))
	if err != nil {
		return fmt.Errorf("monitors: seal a refresh token: %w", err)
	}
	return mo.change(ctx, func(r *record) {
		if r.State != StateRetired { // its secrets were wiped
			r.Token = sealed
		}
	})
}

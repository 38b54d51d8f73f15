package monitors

import "time"

// action is one thing that a monitor does next. It serves as metric label and log attribute.
type action string

const (
	actNone     action = "none"
	actCreate   action = "create"
	actRecreate action = "recreate" // delete, create
	actRenew    action = "renew"
	actDelete   action = "delete"
	actProbe    action = "probe"   // is the sign-in accepted (again)?
	actRefresh  action = "refresh" // is it still?
)

// view is what a monitor's next action follows from.
type view struct {
	State      State
	HasToken   bool
	Want       bool // has members to watch
	Hold       bool // the members are not known yet: make nothing new
	Bequeathed bool // keeps its subscription until another monitor has taken the shard over
	Subscribed bool
	Expires    time.Time
	Unreadable bool      // its certificate's key is not ours any more
	OtherShard bool      // it watches another shard than it should
	Silent     bool      // it swallows notifications
	ChangeDue  time.Time // when it should watch the wanted list; zero: it does
	RenewAt    time.Time
	RotateAt   time.Time // when one from before a rotation is made anew; zero: it is not one
	RetryAt    time.Time // pause after a failure; zero: none
	RefreshAt  time.Time // when the sign-in is tried, whatever else there is to do; zero: never
	Challenge  bool
	Check      bool
}

// decide says what to do now, or else when to look again (zero: when something changes).
func decide(v view, now time.Time) (action, time.Time) {
	if v.State == StateNeedsAttention && v.HasToken {
		if v.Check || !now.Before(v.RetryAt) {
			return actProbe, time.Time{}
		}
		return actNone, v.RetryAt
	}
	if v.State != StateAuthorized {
		return actNone, time.Time{}
	}
	act, wake := decideSubscription(v, now)
	if act != actNone && now.Before(v.RetryAt) {
		act, wake = actNone, v.RetryAt
	}
	switch {
	case act != actNone:
	case due(v.RefreshAt, now):
		return actRefresh, time.Time{}
	default:
		wake = earliest(wake, v.RefreshAt)
	}
	return act, wake
}

func decideSubscription(v view, now time.Time) (action, time.Time) {
	switch {
	case !v.Subscribed || !now.Before(v.Expires):
		// Also one that expired while the bridge was down; Graph has forgotten it.
		if v.Want && !v.Hold {
			return actCreate, time.Time{}
		}
		if v.Check {
			return actProbe, time.Time{} // a spare: is its sign-in accepted?
		}
		return actNone, time.Time{}
	case !v.Want && !v.Hold && !v.Bequeathed:
		return actDelete, time.Time{}
	case !v.Want:
		return decideRenewal(v, now)
	case v.Unreadable, v.OtherShard, v.Silent:
		return actRecreate, time.Time{}
	case due(v.ChangeDue, now), due(v.RotateAt, now):
		return actRecreate, time.Time{}
	}
	act, wake := decideRenewal(v, now)
	if act == actNone {
		wake = earliest(v.ChangeDue, v.RotateAt, wake)
	}
	return act, wake
}

func decideRenewal(v view, now time.Time) (action, time.Time) {
	if v.Check || v.Challenge || due(v.RenewAt, now) {
		return actRenew, time.Time{}
	}
	return actNone, earliest(v.RenewAt, v.Expires)
}

// due tells whether a time has come, if one is set.
func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

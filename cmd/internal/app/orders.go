package app

import (
	"context"

	"presencebridge/bridge/console"
	"presencebridge/bridge/console/client/api"
	"presencebridge/monitors"
)

// orders are the commands that the owner of an account carries out.
func orders() map[string]func(*account, context.Context, command) (reply, error) {
	return map[string]func(*account, context.Context, command) (reply, error){
		"account":   (*account).tellAccount,
		"members":   (*account).tellMembers,
		"member":    (*account).tellMember,
		"explain":   (*account).tellWhy,
		"directory": (*account).tellDirectory,
		"monitors":  (*account).tellMonitors,
		"probe":     (*account).tellProbe,
		"check_pbx": (*account).checkPBXs,

		"authorize":      (*account).authorizeMonitor,
		"renew":          (*account).renewMonitor,
		"add_monitor":    (*account).addMonitor,
		"remove_monitor": (*account).dropMonitor,
		"retry_monitor":  (*account).retryMonitor,
		"sign_in":        (*account).finishSignIn,
		"authorization":  (*account).awaitAuthorization,

		"reseal":             (*account).resealOld,
		"reseal_all":         (*account).resealAll,
		"rotate_certificate": (*account).rotateCertificate,

		"replay":       (*account).startReplay,
		"replay_state": (*account).tellReplay,
		"replay_stop":  (*account).stopReplay,
		"resync":       (*account).startResync,
		"resync_state": (*account).tellResync,
		"resync_stop":  (*account).stopResync,
	}
}

func (a *account) tellAccount(context.Context, command) (reply, error) {
	return reply{Account: a.describe()}, nil
}

func (a *account) tellMembers(_ context.Context, c command) (reply, error) {
	q := console.MemberQuery{Limit: api.DefaultLimit}
	if c.Query != nil {
		q = *c.Query
	}
	return reply{Members: a.members(q)}, nil
}

func (a *account) tellMember(_ context.Context, c command) (reply, error) {
	m, err := a.member(c.Key)
	return reply{Member: m}, err
}

func (a *account) tellWhy(ctx context.Context, c command) (reply, error) {
	if c.Explain == nil {
		c.Explain = &explainQuery{}
	}
	e, err := a.explain(ctx, c.Key, *c.Explain)
	return reply{Explanation: e}, err
}

func (a *account) tellDirectory(_ context.Context, c command) (reply, error) {
	return a.directoryPage(c.Directory)
}

func (a *account) tellMonitors(context.Context, command) (reply, error) {
	return reply{Monitors: a.monitorList()}, nil
}

func (a *account) tellProbe(ctx context.Context, _ command) (reply, error) { return a.probe(ctx), nil }

func (a *account) authorizeMonitor(ctx context.Context, c command) (reply, error) {
	f, err := whenRunning(ctx, func() (monitors.Flow, error) { return a.monitors.Authorize(ctx, c.order()) })
	return a.signInStarted(c.Key, f, err)
}

func (a *account) renewMonitor(ctx context.Context, c command) (reply, error) {
	f, err := whenRunning(ctx, func() (monitors.Flow, error) { return a.monitors.Renew(ctx, c.order()) })
	return a.signInStarted(c.Key, f, err)
}

func (a *account) addMonitor(ctx context.Context, c command) (reply, error) {
	in, err := whenRunning(ctx, func() (monitors.Info, error) { return a.monitors.Add(ctx, c.order()) })
	return a.monitorChanged(c.Key, in, err)
}

func (a *account) dropMonitor(ctx context.Context, c command) (reply, error) {
	in, err := a.removeMonitor(ctx, c.Key)
	return a.monitorChanged(c.Key, in, err)
}

func (a *account) resealOld(ctx context.Context, _ command) (reply, error) {
	return a.reseal(ctx, false)
}
func (a *account) resealAll(ctx context.Context, _ command) (reply, error) {
	return a.reseal(ctx, true)
}

func (a *account) startReplay(_ context.Context, c command) (reply, error) {
	if c.Replay == nil {
		return reply{}, fail("invalid", "the replay lacks a policy")
	}
	st, err := a.replays.start(*c.Replay)
	return reply{Replay: st}, err
}

func (a *account) tellReplay(_ context.Context, c command) (reply, error) {
	st, err := a.replays.state(c.Key, c.Since)
	return reply{Replay: st}, err
}

func (a *account) stopReplay(_ context.Context, c command) (reply, error) {
	a.replays.stop(c.Key)
	return reply{}, nil
}

func (a *account) startResync(_ context.Context, c command) (reply, error) {
	st, err := a.resyncs.start(c.Key)
	return reply{Resync: st}, err
}

func (a *account) tellResync(_ context.Context, c command) (reply, error) {
	st, err := a.resyncs.state(c.Key, c.Since)
	return reply{Resync: st}, err
}

func (a *account) stopResync(_ context.Context, c command) (reply, error) {
	a.resyncs.stop(c.Key)
	return reply{}, nil
}

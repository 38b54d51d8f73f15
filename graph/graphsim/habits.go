package graphsim

import "time"

// situation is what a person does when they decide what to do next.
type situation struct {
	signedIn, calling, meeting, presenting, away, chosen, out, mobile bool
}

// act has a person do one thing that fits what they do now. Things that go on are ended more often
// than begun again, so that the company neither falls asleep nor talks all day.
func (p *People) act(user string) {
	var now situation
	if !p.sim.look(user, func(x *person, _ time.Time) { now = x.situation() }) {
		return
	}
	s := p.sim
	if !now.signedIn {
		p.do(p.oneOf([]habitOf{
			{8, func() error { return s.SignIn(user) }},
			{1, func() error { return s.SetSession(user, "mobile", Available) }},
			{1, func() error { return s.StartCall(user) }},
		}))
		return
	}
	var can []habitOf
	may := func(possible bool, weight int, do func() error) {
		if possible {
			can = append(can, habitOf{weight, do})
		}
	}
	may(now.calling, 60, func() error { return s.EndCall(user) })
	may(!now.calling, 24, func() error { return s.StartCall(user) })
	may(!now.calling, 6, func() error { return s.StartConferenceCall(user) })
	may(now.calling, 4, func() error { return s.StartCall(user) }) // a second call on top
	may(now.meeting, 30, func() error { return s.EndMeeting(user) })
	may(!now.meeting, 12, func() error { return s.StartMeeting(user) })
	may(now.presenting, 40, func() error { return s.StopPresenting(user) })
	may(!now.presenting, 5, func() error { return s.StartPresenting(user) })
	may(now.away, 30, func() error { return s.ComeBack(user) })
	may(!now.away, 8, func() error { return s.GoAway(user) })
	may(now.chosen, 20, func() error { return s.ClearPreferred(user) })
	may(true, 10, func() error { return s.SetPreferred(user, p.pick(), 0) })
	may(now.mobile, 10, func() error { return s.CloseSession(user, "mobile") })
	may(!now.mobile, 3, func() error { return s.SetSession(user, "mobile", InACall) })
	may(now.out, 5, func() error { return s.SetOutOfOffice(user, false, "") })
	may(!now.out, 1, func() error { return s.SetOutOfOffice(user, true, "Back on Monday") })
	may(true, 4, func() error { return s.SignOut(user) }) // the closed laptop
	p.do(p.oneOf(can))
}

type habitOf struct {
	weight int
	do     func() error
}

// oneOf does one of the things, by weight.
func (p *People) oneOf(can []habitOf) error {
	total := 0
	for _, h := range can {
		total += h.weight
	}
	n := p.rand.IntN(total)
	for _, h := range can {
		if n -= h.weight; n < 0 {
			return h.do()
		}
	}
	return nil
}

// pick is a status to pick by hand.
func (p *People) pick() Pair {
	statuses := []Pair{Busy, DoNotDisturb, DoNotDisturb, BeRightBack, Away, Available, AppearOffline}
	return statuses[p.rand.IntN(len(statuses))]
}

func (p *person) situation() situation {
	now := situation{signedIn: len(p.clients) > 0, chosen: p.preferred != nil, out: p.outOfOffice}
	for _, c := range p.clients {
		if c.name == "mobile" {
			now.mobile = true
			continue
		}
		now.calling = now.calling || c.calls > 0
		now.meeting = now.meeting || c.meeting
		now.presenting = now.presenting || c.presenting
		now.away = now.away || c.base == Away
	}
	return now
}

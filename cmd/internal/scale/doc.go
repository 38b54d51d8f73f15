// Package scale shows the real bridge with as many members as one account can have: 100,000 on 154 monitors, against the
// simulated tenant and PBX, over real HTTP. From the start to full coverage, renewals, a subscription that dies without a
// word beside one that is merely slow, a monitor whose account is disabled, without a spare and with one: each with its
// time and its number of requests to Graph, by the class of budget that they count against. The tenant counts them and
// refuses what is beyond a budget; none may be refused.
//
//	make scale
//
// runs it with the intervals that the bridge has by default. Only the life of a subscription is shorter, 6 min
// instead of an hour, so that all of them are renewed within minutes: the bridge renews at half of what it is given.
//
// `go test` runs the same with 2,600 members and shortened intervals.
package scale

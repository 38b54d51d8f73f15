package sipsim

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// The event packages.
const (
	packageDialog   = "dialog"
	packagePresence = "presence"
)

// notifyLimit is how long a subscriber may take to answer a notification (timer F, RFC 3261 section 17.1.2.2).
const notifyLimit = 32 * time.Second

// subscription is the server's end (RFC 6665 section 4.2). The simulator's mutex guards it.
type subscription struct {
	server     *server
	event      string
	person     *person // nil: the list
	callID     string
	local      sip.FromHeader // of notifications: ours, with the tag
	remote     sip.ToHeader
	contact    sip.Uri
	source     string
	transport  string
	cseq       uint32
	version    uint64 // of documents
	told       map[*person]map[string]string
	expires    time.Time
	queue      []func() *sip.Request
	working    bool
	terminated bool
}

func (s *Sim) aor(p *person) string { return "sip:" + p.User.User + "@" + s.cfg.Domain }

// subscribe answers a SUBSCRIBE.
func (s *Sim) subscribe(v *server, req *sip.Request, tx sip.ServerTransaction) {
	fail := func(code int, reason string, extra ...sip.Header) {
		res := sip.NewResponseFromRequest(req, code, reason, nil)
		for _, h := range extra {
			res.AppendHeader(h)
		}
		respond(tx, res)
	}
	event := headerWord(req, "Event")
	s.mu.Lock()
	defer s.mu.Unlock()
	if event != packageDialog && event != packagePresence || event == packageDialog && s.cfg.NoDialog || event == packagePresence && s.cfg.NoPresence {
		fail(489, "Bad Event", sip.NewHeader("Allow-Events", "presence, dialog"))
		return
	}
	expires := expiresOf(req, time.Hour)
	if expires > 0 && expires < s.cfg.MinExpires {
		fail(sip.StatusIntervalToBrief, "Interval Too Brief", sip.NewHeader("Min-Expires", fmt.Sprint(int(s.cfg.MinExpires/time.Second))))
		return
	}
	expires = min(expires, time.Hour)
	tag, inDialog := req.To().Params.Get("tag")
	sub := s.subs[req.CallID().Value()]
	if inDialog && (sub == nil || sub.localTag() != tag) {
		fail(sip.StatusCallTransactionDoesNotExists, "Subscription Does Not Exist")
		return
	}
	if !inDialog {
		if sub = s.newSubscription(v, req, event); sub == nil {
			fail(sip.StatusNotFound, "Not Found")
			return
		}
	}
	res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
	res.To().Params.Add("tag", sub.localTag())
	if inDialog {
		res.To().Params = sip.HeaderParams{{K: "tag", V: sub.localTag()}}
	}
	res.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: "127.0.0.1", Port: v.port()}})
	res.AppendHeader(sip.NewHeader("Expires", fmt.Sprint(int(expires/time.Second))))
	if sub.person == nil {
		res.AppendHeader(sip.NewHeader("Require", "eventlist"))
	}
	respond(tx, res)
	sub.expires = time.Now().Add(expires)
	sub.terminated = expires == 0
	clear(sub.told)
	s.notify(sub, nil, nil)
	if sub.terminated {
		delete(s.subs, sub.callID)
	}
}

func (v *server) port() int {
	_, port, _ := sip.ParseAddr(v.tcp.Addr().String())
	return port
}

func (sub *subscription) localTag() string {
	tag, _ := sub.local.Params.Get("tag")
	return tag
}

func (s *Sim) newSubscription(v *server, req *sip.Request, event string) *subscription {
	user := req.Recipient.User
	p := s.people[user]
	list := user == listUser && strings.Contains(headerText(req, "Supported"), "eventlist")
	contact := req.Contact()
	if p == nil && !list || contact == nil || s.server != v {
		return nil
	}
	sub := &subscription{
		server: v, event: event, person: p, callID: req.CallID().Value(), contact: *contact.Address.Clone(), source: req.Source(),
		transport: req.Transport(), told: map[*person]map[string]string{},
	}
	sub.local = sip.FromHeader{Address: req.To().Address}
	sub.local.Params.Add("tag", random())
	sub.remote = sip.ToHeader{Address: req.From().Address, Params: req.From().Params}
	s.subs[sub.callID] = sub
	return sub
}

// tell notifies everybody who watches one side of somebody. before are the calls that were.
func (s *Sim) tell(p *person, event string, before map[string]string) {
	for _, sub := range s.subs {
		if sub.event == event && (sub.person == p || sub.person == nil) {
			s.notify(sub, p, before)
		}
	}
}

// notify queues a notification: about everything, or about one person whose state changed.
func (s *Sim) notify(sub *subscription, about *person, before map[string]string) {
	kind, body := s.body(sub, about, before)
	sub.cseq++
	cseq, state := sub.cseq, fmt.Sprintf("active;expires=%d", max(0, int(time.Until(sub.expires)/time.Second)))
	if sub.terminated {
		state = "terminated;reason=timeout"
	}
	build := func() *sip.Request {
		req := sip.NewRequest(sip.NOTIFY, sub.contact)
		req.SetTransport(sub.transport)
		req.SetDestination(sub.source)
		callID, hops := sip.CallIDHeader(sub.callID), sip.MaxForwardsHeader(70)
		req.AppendHeader(&sub.local)
		req.AppendHeader(&sub.remote)
		req.AppendHeader(&callID)
		req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: sip.NOTIFY})
		req.AppendHeader(&hops)
		req.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: "127.0.0.1", Port: sub.server.port()}})
		req.AppendHeader(sip.NewHeader("Event", sub.event))
		req.AppendHeader(sip.NewHeader("Subscription-State", state))
		if body != "" {
			req.AppendHeader(sip.NewHeader("Content-Type", kind))
		}
		if sub.person == nil {
			req.AppendHeader(sip.NewHeader("Require", "eventlist"))
		}
		req.SetBody([]byte(body))
		return req
	}
	s.stats.Notifications++
	sub.queue = append(sub.queue, build)
	if s.dice.Hit(s.faults.Doubled) {
		sub.queue = append(sub.queue, build)
	}
	if n := len(sub.queue); n > 1 && s.dice.Hit(s.faults.Late) { // it comes after the next
		sub.queue[n-1], sub.queue[n-2] = sub.queue[n-2], sub.queue[n-1]
	}
	if !sub.working && s.server == sub.server {
		sub.working = true
		wait := time.Duration(0)
		if s.dice.Hit(s.faults.Late) {
			wait = s.dice.UpTo(s.faults.LateBy)
		}
		sub.server.work.Go(func() { s.send(sub, wait) })
	}
}

// send sends what is queued, in order.
func (s *Sim) send(sub *subscription, wait time.Duration) {
	select {
	case <-time.After(wait):
	case <-sub.server.life.Done():
	}
	for {
		s.mu.Lock()
		if len(sub.queue) == 0 || s.server != sub.server {
			sub.working = false
			s.mu.Unlock()
			return
		}
		build := sub.queue[0]
		sub.queue = sub.queue[1:]
		s.mu.Unlock()
		if !s.deliver(sub, build()) {
			s.mu.Lock()
			if s.subs[sub.callID] == sub {
				delete(s.subs, sub.callID)
			}
			sub.queue, sub.working = nil, false
			s.mu.Unlock()
			return
		}
	}
}

// deliver sends one notification and waits for the answer. A subscriber that does not know the subscription, or does
// not answer, loses it (RFC 6665 section 4.2.2).
func (s *Sim) deliver(sub *subscription, req *sip.Request) bool {
	ctx, cancel := context.WithTimeout(sub.server.life, notifyLimit)
	defer cancel()
	res, err := sub.server.client.Do(ctx, req)
	return err == nil && res != nil && res.IsSuccess()
}

// body is what a notification says.
func (s *Sim) body(sub *subscription, about *person, before map[string]string) (kind, body string) {
	if sub.person == nil {
		return s.listBody(sub, about)
	}
	return s.oneBody(sub, sub.person, before)
}

func (s *Sim) oneBody(sub *subscription, p *person, before map[string]string) (kind, body string) {
	if sub.event == packagePresence {
		return "application/pidf+xml", s.presenceBody(p)
	}
	if !s.cfg.Partial || sub.told[p] == nil {
		before = nil
	}
	sub.told[p] = map[string]string{}
	body = s.dialogBody(p, sub.version, before)
	sub.version++
	return "application/dialog-info+xml", body
}

// listBody is a notification about the list (RFC 4662 section 5): all of it, or what changed.
func (s *Sim) listBody(sub *subscription, about *person) (kind, body string) {
	who, full := s.order, true
	if about != nil {
		who, full = []string{about.User.User}, false
	}
	var list, parts strings.Builder
	for i, user := range who {
		p := s.people[user]
		kind, doc := "application/pidf+xml", s.presenceBody(p)
		if sub.event == packageDialog {
			kind, doc = "application/dialog-info+xml", s.dialogBody(p, sub.version, nil)
		}
		fmt.Fprintf(&list, `<resource uri="%s"><name>%s</name><instance id="i%d" state="active" cid="d%d@sipsim"/></resource>`, esc(s.aor(p)), esc(p.DisplayName), i, i)
		fmt.Fprintf(&parts, "--part\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <d%d@sipsim>\r\nContent-Type: %s\r\n\r\n%s\r\n", i, kind, doc)
	}
	root := fmt.Sprintf(`<?xml version="1.0"?><list xmlns="urn:ietf:params:xml:ns:rlmi" uri="%s" version="%d" fullState="%t">%s</list>`, s.ListURI(), sub.version, full, list.String()) //nolint:gocritic // quotes of XML
	sub.version++
	return `multipart/related;type="application/rlmi+xml";start="<root@sipsim>";boundary="part"`,
		"--part\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <root@sipsim>\r\nContent-Type: application/rlmi+xml;charset=\"UTF-8\"\r\n\r\n" + root + "\r\n" + parts.String() + "--part--\r\n"
}

// expireSubscriptions ends those that were not refreshed. The mutex is held.
func (s *Sim) expireSubscriptions(now time.Time) {
	for id, sub := range s.subs {
		if now.After(sub.expires) {
			sub.terminated = true
			s.notify(sub, nil, nil)
			delete(s.subs, id)
		}
	}
}

func headerText(req *sip.Request, name string) string {
	if h := req.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// headerWord is a header's value without its parameters.
func headerWord(req *sip.Request, name string) string {
	word, _, _ := strings.Cut(headerText(req, name), ";")
	return strings.ToLower(strings.TrimSpace(word))
}

func expiresOf(req *sip.Request, otherwise time.Duration) time.Duration {
	var n int
	if _, err := fmt.Sscan(headerText(req, "Expires"), &n); err != nil || n < 0 {
		return otherwise
	}
	return time.Duration(n) * time.Second
}

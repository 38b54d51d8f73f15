package sip

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"presencebridge/bridge/pbx"
)

// The event packages.
const (
	eventDialog   = "dialog"   // RFC 4235
	eventPresence = "presence" // RFC 3856
)

// keepOver is how long a notification that is repeated may come after its subscription ended: 64*T1 (RFC 3261
// section 17.1.2.2).
const keepOver = 32 * time.Second

// subscription is our end of one subscription (RFC 6665). What is not said to be fixed is guarded by the link's mutex.
type subscription struct {
	// Fixed.
	event   string
	target  sip.Uri
	list    bool
	handler func(notice) // called in order, from the goroutine that reads

	callID, fromTag, toTag string
	cseq                   uint32 // of ours; owned by who sends, one at a time
	remote                 sip.Uri
	routes                 []sip.Uri
	heardCSeq              uint32 // of the last notification; 0 before
	ended                  time.Time
}

// notice is what one notification says.
type notice struct {
	state       string // active, pending, terminated
	reason      string
	retry       time.Duration
	expires     time.Duration // 0: not said
	contentType string
	body        []byte
}

func accept(event string, list bool) string {
	kind := "application/pidf+xml"
	if event == eventDialog {
		kind = "application/dialog-info+xml"
	}
	if list {
		kind += ", application/rlmi+xml, multipart/related"
	}
	return kind
}

// open begins a new dialog for a subscription.
func (l *flow) register(s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.callID != "" {
		if old := l.dialogs[s.callID]; old == s {
			// A copy answers what still comes in the old dialog; nothing of it is handled.
			l.dialogs[s.callID] = &subscription{callID: s.callID, fromTag: s.fromTag, ended: time.Now()}
			l.over = append(l.over, l.dialogs[s.callID])
		}
	}
	s.callID, s.fromTag, s.toTag, s.cseq, s.heardCSeq = newCallID(), newTag(), "", 0, 0
	s.remote, s.routes, s.ended = s.target, nil, time.Time{}
	l.dialogs[s.callID] = s
	for len(l.over) > 0 && time.Since(l.over[0].ended) > keepOver {
		delete(l.dialogs, l.over[0].callID)
		l.over = l.over[1:]
	}
}

// finish ends a subscription on our side.
func (l *flow) finish(s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.ended.IsZero() {
		s.ended = time.Now()
		l.over = append(l.over, s)
	}
}

// subscribe sends one SUBSCRIBE, within the dialog if there is one, and returns how long the PBX grants.
func (l *flow) subscribe(ctx context.Context, s *subscription, expires time.Duration) (time.Duration, error) {
	l.mu.Lock()
	o := outgoing{
		op: "subscribe " + s.event, method: sip.SUBSCRIBE, target: s.remote, to: s.target, toTag: s.toTag, fromTag: s.fromTag,
		callID: s.callID, cseq: &s.cseq, routes: s.routes,
		headers: [][2]string{
			{"Event", s.event}, {"Accept", accept(s.event, s.list)}, {"Expires", strconv.Itoa(int(expires / time.Second))},
			{"Allow", "NOTIFY, OPTIONS"},
		},
	}
	if s.list {
		o.headers = append(o.headers, [2]string{"Supported", "eventlist"}) // RFC 4662 section 4.1
	}
	l.mu.Unlock()
	res, err := l.do(ctx, o)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.callID == s.callID && s.toTag == "" {
		s.confirm(res)
	}
	granted := expires
	if h := res.GetHeader("Expires"); h != nil {
		granted = min(seconds(h.Value()), granted) // never longer than asked (RFC 6665 section 4.2.1.1)
	}
	return granted, nil
}

// confirm takes the dialog from the answer. The first notification may have done so before.
func (s *subscription) confirm(res *sip.Response) {
	if to := res.To(); to != nil {
		s.toTag, _ = to.Params.Get("tag")
	}
	if c := res.Contact(); c != nil {
		s.remote = *c.Address.Clone()
	}
	s.routes = nil
	for _, h := range res.GetHeaders("Record-Route") { // in reverse for who asked (RFC 3261 section 12.1.2)
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			s.routes = append([]sip.Uri{*rr.Address.Clone()}, s.routes...)
		}
	}
}

// answerNotify answers a notification: 481 ends a subscription that nobody here knows (RFC 6665 section 4.1.3).
func (l *flow) answerNotify(req *sip.Request, tx sip.ServerTransaction) {
	if l.lookup(req) == nil {
		reply(req, tx, sip.StatusCallTransactionDoesNotExists, "Subscription Does Not Exist")
		return
	}
	reply(req, tx, sip.StatusOK, "OK")
}

func (l *flow) lookup(req *sip.Request) *subscription {
	id, to := req.CallID(), req.To()
	if id == nil || to == nil {
		return nil
	}
	tag, _ := to.Params.Get("tag")
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.dialogs[id.Value()]; s != nil && s.fromTag == tag {
		return s
	}
	return nil
}

// notified takes a notification in. It is called in the order in which they came.
func (l *flow) notified(req *sip.Request) {
	s := l.lookup(req)
	if s == nil || s.handler == nil || !l.inOrder(s, req) {
		return
	}
	s.handler(readNotice(req))
}

// inOrder lets a notification through that is newer than all before, and of the dialog that is known.
func (l *flow) inOrder(s *subscription, req *sip.Request) bool {
	cseq, from := req.CSeq(), req.From()
	if cseq == nil || from == nil {
		return false
	}
	if eventOf(req) != s.event {
		return false
	}
	tag, _ := from.Params.Get("tag")
	l.mu.Lock()
	defer l.mu.Unlock()
	if !s.ended.IsZero() || cseq.SeqNo <= s.heardCSeq || (s.toTag != "" && s.toTag != tag) {
		return false // repeated or late (RFC 3261 section 12.2.2), or of another branch of a forked request
	}
	s.heardCSeq = cseq.SeqNo
	if s.toTag == "" { // it came before the answer (RFC 6665 section 4.1.2.4)
		s.toTag = tag
		if c := req.Contact(); c != nil {
			s.remote = *c.Address.Clone()
		}
		for _, h := range req.GetHeaders("Record-Route") {
			if rr, ok := h.(*sip.RecordRouteHeader); ok {
				s.routes = append(s.routes, *rr.Address.Clone())
			}
		}
	}
	return true
}

// eventOf is the package of a request, "" without one. The stack knows the compact forms of RFC 3261's own fields only:
// o is RFC 6665's (section 8.2.1).
func eventOf(req *sip.Request) string {
	h := req.GetHeader("Event")
	if h == nil {
		h = req.GetHeader("o")
	}
	if h == nil {
		return ""
	}
	return mediaType(h.Value())
}

func readNotice(req *sip.Request) notice {
	n := notice{state: "active", body: req.Body()}
	if h := req.GetHeader("Content-Type"); h != nil {
		n.contentType = h.Value()
	}
	h := req.GetHeader("Subscription-State")
	if h == nil {
		return n
	}
	state, params, _ := strings.Cut(h.Value(), ";")
	n.state = strings.ToLower(strings.TrimSpace(state))
	for p := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "reason":
			n.reason = strings.ToLower(strings.TrimSpace(value))
		case "retry-after":
			n.retry = min(seconds(value), maxRetryAfter)
		case "expires":
			n.expires = seconds(value)
		}
	}
	return n
}

// fetch asks once (RFC 6665 section 4.4.3): a subscription that expires at once is answered by one notification.
func (l *flow) fetch(ctx context.Context, event string, target sip.Uri) (notice, error) {
	return l.fetchOf(ctx, event, target, false)
}

func (l *flow) fetchOf(ctx context.Context, event string, target sip.Uri, list bool) (notice, error) {
	ctx, cancel := context.WithTimeout(ctx, l.c.cfg.Timeout)
	defer cancel()
	got := make(chan notice, 1)
	s := &subscription{event: event, target: target, list: list}
	s.handler = func(n notice) {
		select {
		case got <- n:
		default:
		}
	}
	l.register(s)
	defer l.finish(s)
	if _, err := l.subscribe(ctx, s, 0); err != nil {
		return notice{}, err
	}
	select {
	case n := <-got:
		return n, nil
	case <-l.life.Done():
		return notice{}, typed("fetch "+event, context.Cause(l.life))
	case <-ctx.Done():
		return notice{}, typed("fetch "+event, errNoNotice)
	}
}

var errNoNotice = errors.New("the PBX accepted the subscription but sent no notification")

// lacks tells whether an error says that the PBX does not have the package.
func lacks(err error) bool {
	var se *statusError
	return errors.As(err, &se) && se.code == 489
}

// gone tells whether an error says that there is no such address.
func gone(err error) bool { return pbx.KindOf(err) == pbx.Gone }

func (l *flow) without(event string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.no[event]
}

// setWithout notes that the PBX does not have a package (489).
func (l *flow) setWithout(event string) {
	l.mu.Lock()
	first := !l.no[event]
	l.no[event] = true
	l.mu.Unlock()
	if first {
		l.c.cfg.Log.Warn("the pbx does not have an event package", "package", event)
		l.c.tracker.Warn(lacking(event))
	}
}

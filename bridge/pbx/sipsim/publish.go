package sipsim

import (
	"fmt"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"
)

// publication is one document of somebody else's than the phone's (RFC 3903).
type publication struct {
	etag    string
	doc     document
	expires time.Time
}

// publish answers a PUBLISH (RFC 3903 section 6).
func (s *Sim) publish(_ *server, req *sip.Request, tx sip.ServerTransaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := s.published(req)
	if res.IsSuccess() && s.dice.Hit(s.faults.AppliedButFailed) {
		return // done, and the answer is lost
	}
	respond(tx, res)
}

func (s *Sim) published(req *sip.Request) *sip.Response {
	answer := func(code int, reason string, extra ...sip.Header) *sip.Response {
		res := sip.NewResponseFromRequest(req, code, reason, nil)
		for _, h := range extra {
			res.AppendHeader(h)
		}
		return res
	}
	p := s.people[req.Recipient.User]
	expires := min(expiresOf(req, time.Hour), s.cfg.MaxExpires)
	etag, body := headerText(req, "SIP-If-Match"), req.Body()
	switch {
	case p == nil:
		return answer(sip.StatusNotFound, "Not Found")
	case headerWord(req, "Event") != packagePresence || s.cfg.NoPresence:
		return answer(489, "Bad Event", sip.NewHeader("Allow-Events", "presence"))
	case expires > 0 && expires < s.cfg.MinExpires:
		return answer(sip.StatusIntervalToBrief, "Interval Too Brief", sip.NewHeader("Min-Expires", fmt.Sprint(int(s.cfg.MinExpires/time.Second))))
	case etag == "" && len(body) == 0:
		return answer(sip.StatusBadRequest, "Bad Request")
	}
	at := slices.IndexFunc(p.published, func(x *publication) bool { return x.etag == etag })
	if etag != "" && at < 0 {
		return answer(412, "Conditional Request Failed")
	}
	var doc document
	if len(body) > 0 {
		var err error
		if headerWord(req, "Content-Type") != "application/pidf+xml" {
			return answer(sip.StatusUnsupportedMediaType, "Unsupported Media Type")
		}
		if doc, err = readDocument(body); err != nil {
			return answer(sip.StatusBadRequest, "Bad Request")
		}
	}
	s.etags++
	s.stats.Publications++
	fresh := fmt.Sprintf("e%d-%s", s.etags, random()[:6])
	_ = s.moved(p, "api", func() error {
		p.change(at, fresh, doc, len(body) > 0, expires)
		return nil
	})
	return answer(sip.StatusOK, "OK", sip.NewHeader("SIP-ETag", fresh), sip.NewHeader("Expires", fmt.Sprint(int(expires/time.Second))))
}

// change adds, renews, replaces or removes the document at a place.
func (p *person) change(at int, etag string, doc document, whole bool, expires time.Duration) {
	pub := &publication{doc: doc}
	if at >= 0 {
		if !whole {
			pub.doc = p.published[at].doc
		}
		p.published = slices.Delete(p.published, at, at+1)
	}
	if expires == 0 {
		return
	}
	pub.etag, pub.expires = etag, time.Now().Add(expires)
	p.published = append(p.published, pub)
}

// expirePublications ends those that were not renewed. The mutex is held.
func (s *Sim) expirePublications(now time.Time) {
	for _, p := range s.people {
		if !slices.ContainsFunc(p.published, func(x *publication) bool { return now.After(x.expires) }) {
			continue
		}
		s.stats.Lapsed++
		_ = s.moved(p, "api", func() error {
			p.published = slices.DeleteFunc(p.published, func(x *publication) bool { return now.After(x.expires) })
			return nil
		})
	}
}

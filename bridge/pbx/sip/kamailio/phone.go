package kamailio

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Phone is somebody's phone: it publishes their presence and their calls, as phones and PBXs do, and knows what it
// last published.
type Phone struct {
	// User is the user part of its address.
	User string

	s    *Server
	mu   sync.Mutex
	etag map[string]string // by event
}

// AOR is the phone's address.
func (p *Phone) AOR() string { return "sip:" + p.User + "@" + Domain }

// Phone makes a phone.
func (s *Server) Phone(user string) *Phone { return s.phone(user) }

func (s *Server) phone(user string) *Phone {
	return &Phone{User: user, s: s, etag: map[string]string{}}
}

// header is a header field of a request.
type header struct{ name, value string }

// Publish publishes a document in the place of the one before. An empty one removes it.
func (p *Phone) Publish(event, contentType, body string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		head := []header{{"Event", event}, {"Expires", "3600"}}
		etag := p.etag[event]
		if etag != "" {
			head = append(head, header{"SIP-If-Match", etag})
		}
		if body == "" {
			head[1].value = "0"
			if etag == "" {
				return nil
			}
		}
		code, answer, err := p.exchange(ctx, "PUBLISH", head, contentType, body)
		switch {
		case err != nil:
			return err
		case code == 412:
			delete(p.etag, event)
		case code == 500: // its database is locked
		case code != 200:
			return fmt.Errorf("publish %s for %s: %d", event, p.User, code)
		default:
			p.etag[event] = field(answer, "SIP-ETag")
			if body == "" {
				delete(p.etag, event)
			}
			return nil
		}
	}
}

// Forget forgets what was published, as a phone does whose server lost everything.
func (p *Phone) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.etag)
}

// Presence publishes the person's presence: open or closed, an activity of RPID or none, and a note or none.
func (p *Phone) Presence(open bool, activity, note string) error {
	basic := "closed"
	if open {
		basic = "open"
	}
	if activity != "" {
		activity = "<rpid:" + activity + "/>"
	}
	if note != "" {
		note = "<dm:note>" + escaper().Replace(note) + "</dm:note>"
	}
	return p.Publish("presence", "application/pidf+xml", `<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="`+p.AOR()+`">
  <tuple id="phone-`+p.User+`"><status><basic>`+basic+`</basic></status></tuple>
  <dm:person id="person-`+p.User+`"><rpid:activities>`+activity+`</rpid:activities>`+note+`</dm:person>
</presence>`)
}

// Calls publishes the phone's calls, each as the inner part of a dialog element.
func (p *Phone) Calls(dialogs ...string) error {
	var b strings.Builder
	for i, d := range dialogs {
		fmt.Fprintf(&b, `<dialog id="call-%d" call-id="c%d" direction="recipient">%s</dialog>`, i, i, d)
	}
	return p.Publish("dialog", "application/dialog-info+xml", `<?xml version="1.0" encoding="UTF-8"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full" entity="`+p.AOR()+`">`+b.String()+`</dialog-info>`)
}

// Shown fetches the document that everybody sees.
func (p *Phone) Shown() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		conn, err := p.dial(ctx)
		if err != nil {
			return "", err
		}
		body, err := p.fetch(ctx, conn)
		_ = conn.Close()
		if err == nil || ctx.Err() != nil {
			return body, err
		}
	}
}

func (p *Phone) fetch(ctx context.Context, conn net.Conn) (string, error) {
	if err := p.send(conn, "SUBSCRIBE", []header{{"Event", "presence"}, {"Expires", "0"}}, "", ""); err != nil {
		return "", err
	}
	buf := make([]byte, 1<<16)
	for ctx.Err() == nil {
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			return "", err
		}
		msg := string(buf[:n])
		if !strings.HasPrefix(msg, "NOTIFY ") {
			continue
		}
		var b strings.Builder
		b.WriteString("SIP/2.0 200 OK\r\n")
		for _, m := range regexp.MustCompile(`(?im)^(Via|From|To|Call-ID|CSeq):.*$`).FindAllString(msg, -1) {
			b.WriteString(strings.TrimSpace(m) + "\r\n")
		}
		b.WriteString("Content-Length: 0\r\n\r\n")
		_, _ = conn.Write([]byte(b.String()))
		_, body, _ := strings.Cut(msg, "\r\n\r\n")
		return body, nil
	}
	return "", ctx.Err()
}

func (p *Phone) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", fmt.Sprintf("127.0.0.1:%d", p.s.phones))
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (p *Phone) send(conn net.Conn, method string, head []header, contentType, body string) error {
	local := conn.LocalAddr().String()
	to := p.AOR()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport\r\nMax-Forwards: 20\r\nFrom: <%s>;tag=%s\r\nTo: <%s>\r\nCall-ID: %s\r\nCSeq: 1 %s\r\nContact: <sip:%s@%s>\r\n",
		method, to, local, random(), to, random(), to, random(), method, p.User, local)
	for _, h := range head {
		fmt.Fprintf(&b, "%s: %s\r\n", h.name, h.value)
	}
	if contentType != "" && body != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", contentType)
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	_, err := conn.Write([]byte(b.String()))
	return err
}

// try is one attempt, which is not repeated.
func (p *Phone) try(ctx context.Context, method string, head []header, contentType, body string) (int, error) {
	code, _, err := p.once(ctx, method, head, contentType, body, 500*time.Millisecond)
	return code, err
}

// exchange asks until an answer comes. A request that was lost is sent as a new one.
func (p *Phone) exchange(ctx context.Context, method string, head []header, contentType, body string) (int, string, error) {
	for {
		code, answer, err := p.once(ctx, method, head, contentType, body, 10*time.Second)
		if err == nil || ctx.Err() != nil {
			return code, answer, err
		}
	}
}

func (p *Phone) once(ctx context.Context, method string, head []header, contentType, body string, wait time.Duration) (int, string, error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = conn.Close() }()
	if err := p.send(conn, method, head, contentType, body); err != nil {
		pause(ctx) // nobody listens yet
		return 0, "", err
	}
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 1<<16)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			pause(ctx)
			return 0, "", err
		}
		msg := string(buf[:n])
		words := strings.Fields(msg)
		if len(words) < 2 || words[0] != "SIP/2.0" {
			continue
		}
		code, err := strconv.Atoi(words[1])
		if err == nil && code >= 200 {
			return code, msg, nil
		}
	}
}

// pause lets a moment pass before the next try.
func pause(ctx context.Context) {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func field(msg, name string) string {
	for line := range strings.SplitSeq(msg, "\r\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(k, name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func random() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

func escaper() *strings.Replacer {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")
}

package scenario

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"presencebridge/bridge"
	"presencebridge/bridge/presence"
	"presencebridge/graph"
	"presencebridge/graph/graphsim"
	"presencebridge/graph/notify"
)

// Keys cost more time than everything else in a story, so that all stories share them.
var (
	signing    = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	encryption = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
)

// person is somebody of the tenant.
type person struct {
	id, upn string
	phones  []phone
	out     presence.Directions // opted out of
	groups  []string
	gone    bool // left
}

type phone struct{ pbx, extension string }

func (p phone) id() presence.EndpointID { return presence.EndpointID{PBX: p.pbx, User: p.extension} }

// world is the tenant, the PBXs, the people, and the bridge between them.
type world struct {
	t    *testing.T
	s    Scenario
	kind string
	net  *network

	graph  *graphsim.Sim
	pbxs   map[string]exchange
	people map[string]*person
	// longest are the most characters that messages on a PBX hold, by the PBX's name.
	longest map[string]int

	client  *graph.Client // that made the subscription
	decoder *notify.Decoder
	store   *store
	life    *life // nil while the bridge is down
	from    time.Time
	seq     uint64

	over     chan struct{}
	renewing sync.WaitGroup

	mu        sync.Mutex
	timeline  []event
	decisions map[string][]bridge.Decision // by member
	writes    map[string]int               // by side's name; renewals not counted
	shown     map[string][]string          // what a person, or a phone, showed, one after the other
}

// event is a line of the timeline that a story which fails is told with.
type event struct {
	at   time.Time
	text string
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timeline = append(w.timeline, event{time.Now(), fmt.Sprintf(format, args...)})
}

// startsAt is when the bridge starts on the day of a story. In its first four hours it believes nothing that it could have
// set itself in a former life without a read (R15); what people feel is what comes afterwards.
const (
	startsAt    = begins - 4*time.Hour - 30*time.Minute
	subscribeAt = begins - 15*time.Minute
)

// clientState is what Graph gives back with each notification.
const clientState = "a state of the story"

// newWorld builds what is so before the bridge starts.
func newWorld(t *testing.T, s Scenario, kind string) *world {
	w := &world{
		t: t, s: s, kind: kind, net: &network{listeners: map[string]*listener{}}, pbxs: map[string]exchange{}, people: map[string]*person{}, longest: map[string]int{},
		over: make(chan struct{}), store: newStore(), decisions: map[string][]bridge.Decision{}, writes: map[string]int{}, shown: map[string][]string{},
	}
	sleepUntil(startsAt)
	key, err := signing()
	require.NoError(t, err)
	w.graph, err = graphsim.New(graphsim.Config{
		Monitors: []string{"presence1"}, AutoApprove: true, SigningKey: key, Tie: graphsim.TieClient, Seed: 7,
		Delivery: graphsim.Delivery{Transport: receiver{w}, AllowHTTP: true},
	})
	require.NoError(t, err)
	w.graph.OnChange(w.teamsChanged)
	w.given()
	return w
}

// given carries out the steps before the first When.
func (w *world) given() {
	users := map[string][]extension{}
	for _, st := range w.s.Steps {
		if st.Phrase != "PERSON has phone PHONE on PBX" {
			continue
		}
		who, ext, pbx := st.Words[0], st.Words[1], st.Words[2]
		p := w.people[who]
		if p == nil {
			p = w.join(who)
		}
		p.phones = append(p.phones, phone{pbx, ext})
		users[pbx] = append(users[pbx], extension{ext, p.upn, who})
	}
	for name, list := range users {
		w.pbxs[name] = w.build(name, list)
	}
}

// join takes somebody into the tenant.
func (w *world) join(who string) *person {
	upn := strings.ToLower(who) + "@contoso.example"
	id, err := w.graph.AddUser(graphsim.Person{UPN: upn, Mail: upn, DisplayName: who})
	require.NoError(w.t, err)
	p := &person{id: id, upn: upn}
	w.people[who] = p
	return p
}

// subscribe has the monitor signed in and subscribed to everybody, as package monitors would.
func (w *world) subscribe() {
	t := w.t
	w.client = w.newClient()
	code, err := w.client.StartDeviceCode(t.Context())
	require.NoError(t, err)
	authorization, err := code.Wait(t.Context())
	require.NoError(t, err)
	key, err := encryption()
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	w.newDecoder(der, key)
	request := graph.SubscriptionRequest{
		NotificationURL: "http://127.0.0.1:1/n", LifecycleURL: "http://127.0.0.1:1/l", ClientState: clientState,
		Expiration: time.Now().Add(time.Hour), EncryptionCertificate: der, EncryptionCertificateID: "one",
	}
	for _, p := range w.people {
		request.UserIDs = append(request.UserIDs, p.id)
	}
	monitor := w.client.Delegated(authorization.UPN, &refreshToken{authorization.RefreshToken})
	subscription, err := monitor.CreateSubscription(t.Context(), request)
	require.NoError(t, err)
	w.renewing.Go(func() { w.renew(monitor, subscription.ID) })
}

// renewEvery is the design's.
const renewEvery = 25 * time.Minute

// renew keeps the subscription alive until the story is over.
func (w *world) renew(monitor *graph.Delegated, id string) {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.over:
			return
		case <-ticker.C:
			if _, err := monitor.RenewSubscription(context.Background(), id, time.Now().Add(time.Hour)); err != nil {
				w.note("the subscription was not renewed: %v", err)
			}
		}
	}
}

func (w *world) newDecoder(der []byte, key *rsa.PrivateKey) {
	urls := w.client.ValidationKeysURLs()
	keys, err := notify.NewKeySource(notify.KeySourceConfig{URLV2: urls[0], URLV1: urls[1], Client: w.client.HTTPClient()})
	require.NoError(w.t, err)
	certificate, err := notify.NewCertificate("one", der, key)
	require.NoError(w.t, err)
	ring, err := notify.NewKeyring(certificate)
	require.NoError(w.t, err)
	w.decoder, err = notify.New(notify.Config{
		Account: "contoso", TenantID: w.graph.TenantID, Audiences: []string{w.graph.ClientID}, Keys: keys, Certificates: ring,
		CheckClientState: func(s string) bool { return s == clientState },
	})
	require.NoError(w.t, err)
}

func (w *world) newClient() *graph.Client {
	c, err := graph.New(graph.Config{
		Account: "contoso", TenantID: w.graph.TenantID, ClientID: w.graph.ClientID,
		ClientSecret: func() (string, error) { return w.graph.ClientSecret, nil },
		Endpoints:    graph.Endpoints{Login: w.graph.LoginURL(), Graph: w.graph.GraphURL()},
		Transport:    direct{w.graph.Handler()},
	})
	require.NoError(w.t, err)
	return c
}

// close ends the world.
func (w *world) close() {
	w.kill()
	close(w.over)
	w.renewing.Wait()
	for _, sim := range w.pbxs {
		require.NoError(w.t, sim.Close())
	}
	require.NoError(w.t, w.graph.Close())
	if w.client != nil { // the story came so far
		w.client.Close()
	}
}

// members is what the directory says.
func (w *world) members() []bridge.Member {
	var out []bridge.Member
	rules := w.policy()
	for who, p := range w.people {
		if p.gone {
			continue
		}
		// As package app does it: whoever is opted out of both directions, by themselves or by a group, is excluded.
		m := bridge.Member{ID: p.id, UPN: p.upn, Mail: p.upn, Name: who, Groups: p.groups, OptOut: p.out}
		m.Excluded = rules.For(p.groups, p.out).OptOut == presence.BothDirections
		for _, ph := range p.phones {
			m.Endpoints = append(m.Endpoints, ph.id())
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b bridge.Member) int { return strings.Compare(a.UPN, b.UPN) })
	return out
}

// phone finds the PBX that a phone is on.
func (w *world) phone(extension string) (exchange, phone) {
	for _, p := range w.people {
		for _, ph := range p.phones {
			if ph.extension == extension {
				return w.pbxs[ph.pbx], ph
			}
		}
	}
	w.t.Fatalf("%s: nobody has phone %s: say so with Given", w.s.File, extension)
	return nil, phone{}
}

func (w *world) person(who string) *person {
	p := w.people[who]
	if p == nil {
		w.t.Fatalf("%s: nobody is called %s: say with Given who has which phone", w.s.File, who)
	}
	return p
}

// teamsChanged is told by the tenant, under its lock.
func (w *world) teamsChanged(c graphsim.Change) {
	if !c.Visible() {
		return
	}
	w.note("Teams shows %s as %s (%s)", c.UPN, c.To, c.Cause)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown[c.UserID] = append(w.shown[c.UserID], c.To.String())
}

func (w *world) phoneChanged(pbx, user, by, line, before, after string) {
	w.note("phone %s on %s: %s, %q (%s)", user, pbx, line, after, by)
	if before == after {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown["phone "+user] = append(w.shown["phone "+user], after)
}

// refreshToken keeps the monitor's token.
type refreshToken struct{ token string }

func (s *refreshToken) LoadRefreshToken(context.Context) (string, error)   { return s.token, nil }
func (s *refreshToken) SaveRefreshToken(_ context.Context, t string) error { s.token = t; return nil }

// direct serves requests in process.
type direct struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	d.handler.ServeHTTP(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// receiver is the way of notifications to the bridge.
type receiver struct{ w *world }

var errNobody = errors.New("connection refused")

// RoundTrip implements http.RoundTripper.
func (r receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	answer := func(status int, body string) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"text/plain"}}, Request: req, Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1}
	}
	if token := req.URL.Query().Get("validationToken"); token != "" {
		return answer(http.StatusOK, token), nil
	}
	body, err := io.ReadAll(req.Body)
	if err = errors.Join(err, req.Body.Close()); err != nil {
		return nil, err
	}
	r.w.mu.Lock()
	l := r.w.life
	r.w.seq++
	seq := r.w.seq
	r.w.mu.Unlock()
	if l == nil || l.dead.Load() {
		return nil, errNobody
	}
	l.intake(seq, bytes.Clone(body))
	return answer(http.StatusAccepted, ""), nil
}

// sleepUntil waits for a time of the day. The clock of a story begins at midnight.
func sleepUntil(d time.Duration) {
	now := time.Now().UTC()
	time.Sleep(now.Truncate(24 * time.Hour).Add(d).Sub(now))
}

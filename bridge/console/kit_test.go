package console

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
)

const testToken = "test-token-0123456789"

// memBackend is a bridge of two accounts, in memory.
type memBackend struct {
	members  map[string][]api.Member
	monitors map[string][]api.Monitor
	err      error  // every call fails with it
	text     string // of explanations, in place of the zone

	resync func(ctx context.Context, account, member string, report func(Progress)) error

	mu    sync.Mutex
	auths map[string]api.Authorization
	news  chan struct{}
	asked []string     // account/member of each resync
	waits atomic.Int32 // calls of Authorization that had to wait
}

func newMemBackend() *memBackend {
	b := &memBackend{auths: map[string]api.Authorization{}, news: make(chan struct{}), members: map[string][]api.Member{"contoso": nil, "fabrikam": nil},
		monitors: map[string][]api.Monitor{"contoso": {{UPN: "presence1@contoso.com", State: "needs_attention", Since: when, Code: "password_changed",
			Text: "the password was changed", Remedy: "authorise it again", Members: 3, Capacity: 650,
			Subscription: &api.Subscription{ID: "s1", ExpiresAt: when, RenewedAt: when, HeardAt: when}}}, "fabrikam": nil}}
	for i := range 25 {
		b.members["contoso"] = append(b.members["contoso"], testMember(i))
	}
	return b
}

var when = time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)

func testMember(i int) api.Member {
	m := api.Member{ID: fmt.Sprintf("id-%02d", i), UPN: fmt.Sprintf("user%02d@contoso.com", i), Mail: fmt.Sprintf("mail%02d@contoso.com", i),
		Name: fmt.Sprintf("User %02d", i), Coverage: presence.CoveragePushed, CoverageReasons: []string{"monitor presence1@contoso.com"}}
	if i%2 == 1 {
		return m // nothing known: everything that may be absent is
	}
	m.Teams = api.Teams{Shown: presence.ParsePairString("Busy/InACall"), OrganicState: "hidden", SeenAt: when, Source: "push", Because: []string{"asserted"},
		Assertion: &api.Assertion{Value: "Busy/InACall", Class: "call", Phase: "standing", Since: when, From: "main/7", Masked: true}, Pending: []string{"read"}}
	m.Endpoints = []api.Endpoint{{PBX: "main", User: "7", Extension: "107", Known: true, Line: presence.LineInCall,
		Shown: presence.Status{Name: "In a call", Kind: presence.KindBusy}, SeenAt: when, Source: "watch",
		Assertion: &api.Assertion{Value: "In a call", Class: "call", Phase: "writing", Since: when, Previous: "In the office"},
		Override:  &api.Override{Of: "Do not disturb", Since: when}}}
	return m
}

func (b *memBackend) Directory(_ context.Context, account string, q DirectoryQuery) (api.Directory, error) {
	if _, known := b.members[account]; !known {
		return api.Directory{}, NotFound("there is no account %q", account)
	}
	if q.Kind != "matched" {
		return api.Directory{}, b.err
	}
	all := make([]api.Finding, 0, 25)
	for i := range 25 {
		all = append(all, api.Finding{
			Kind: "matched", PBX: "main", User: fmt.Sprintf("u%02d", i), Extension: "1", Endpoint: "e", Mail: "m", ID: "id", UPN: "u", Name: "n", Rule: "mail", Kept: true,
			Reason: "r", Text: "t", Candidates: []api.Candidate{{ID: "a", Text: "b", Score: 0.9}},
		})
	}
	at := slices.IndexFunc(all, func(f api.Finding) bool { return f.User > q.After })
	page := all[max(at, 0):]
	next := ""
	if len(page) > q.Limit {
		page = page[:q.Limit]
		next = page[len(page)-1].User
	}
	return api.Directory{Counts: map[string]int{"matched": len(all)}, Findings: page, Next: next}, b.err
}

func (b *memBackend) Accounts(context.Context) ([]api.Account, error) {
	days := 7
	return []api.Account{
		{Name: "contoso", TenantID: "t", Members: map[presence.Coverage]int{presence.CoveragePushed: 25}, PBXs: []api.PBX{{Name: "main", Type: "micollab", Connected: false, SeenAt: when, Detail: "connection refused"}},
			Credentials: []api.Credential{{Kind: "secret", KeyID: "k", Name: "n", ExpiresAt: when, InUse: true, EndsWithinDays: &days, Text: "ends soon"}}, CredentialsRemark: "not granted",
			Coverage: &api.CoverageSum{Members: 25, Reasons: []api.CoverageReason{{Coverage: presence.CoveragePolled, Why: "capacity", Members: 1, Text: "t"}}, Text: "t"}},
		{Name: "fabrikam"},
	}, b.err
}

func (b *memBackend) account(name string) error {
	if _, ok := b.members[name]; !ok {
		return NotFound("there is no account %q", name)
	}
	return b.err
}

func (b *memBackend) Members(_ context.Context, account string, q MemberQuery) (api.Members, error) {
	if err := b.account(account); err != nil {
		return api.Members{}, err
	}
	var page api.Members
	for _, m := range b.members[account] {
		if m.ID <= q.After || !strings.Contains(strings.ToLower(m.Name+m.UPN+m.Mail), strings.ToLower(q.Text)) {
			continue
		}
		if len(page.Members) == q.Limit {
			page.Next = page.Members[q.Limit-1].ID
			break
		}
		page.Members = append(page.Members, m)
	}
	return page, nil
}

func (b *memBackend) Member(_ context.Context, account, key string) (api.Member, error) {
	if err := b.account(account); err != nil {
		return api.Member{}, err
	}
	for _, m := range b.members[account] {
		if strings.EqualFold(key, m.ID) || strings.EqualFold(key, m.UPN) || strings.EqualFold(key, m.Mail) {
			return m, nil
		}
	}
	return api.Member{}, NotFound("account %s has no member %q", account, key)
}

func (b *memBackend) Explain(ctx context.Context, account, key string, q ExplainQuery) (api.Explanation, error) {
	m, err := b.Member(ctx, account, key)
	if err != nil {
		return api.Explanation{}, WithCandidates(err, []string{"user00@contoso.com"})
	}
	e := api.Explanation{Account: account, Member: m.ID, UPN: m.UPN, At: q.At, History: true, Text: cmp.Or(b.text, "in "+when.In(q.Zone).Format("-07:00"))}
	if !q.Since.IsZero() {
		e.Chain = []api.ExplainedEvent{{At: q.Since, Kind: "observed", Text: "Something happened."}}
		e.Sides = []api.ExplainedSide{{Side: "teams", Label: "Teams"}}
	}
	return e, nil
}

func (b *memBackend) ReplayPolicy(_ context.Context, account string, in api.ReplayRequest, each func(api.ReplayItem) error) error {
	if err := b.account(account); err != nil {
		return err
	}
	if strings.Contains(in.Policy, "wrong") {
		return Invalid("line 1: wrong")
	}
	for _, item := range []api.ReplayItem{
		{Progress: &api.ReplayProgress{Done: 1, Total: 2}},
		{Difference: &api.ReplayDifference{Member: "id-01", UPN: "user01@contoso.com", Side: "teams", From: in.Since, Until: when, Old: "Available", New: "Busy"}},
	} {
		if err := each(item); err != nil {
			return err
		}
	}
	if strings.Contains(in.Policy, "breaks") {
		return Unavailable("the owner is gone")
	}
	return each(api.ReplayItem{Summary: &api.ReplaySummary{Since: in.Since, Until: when, Members: 2, Changed: 1, Observations: 7, Remarks: []string{"x"}}})
}

func (b *memBackend) Monitors(_ context.Context, account string) ([]api.Monitor, error) {
	return b.monitors[account], b.account(account)
}

func (b *memBackend) Authorize(_ context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error) {
	if err := b.account(account); err != nil {
		return api.Authorization{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a := api.Authorization{ID: fmt.Sprintf("flow/%d", len(b.auths)), Account: account, UPN: upn, State: api.AuthorizationPending, Message: "waiting for the sign-in",
		UserCode: "ABCD-EFGH", VerificationURI: "https://microsoft.com/devicelogin", ExpiresAt: when}
	a.Method = cmp.Or(in.Method, api.ByDeviceCode)
	if a.Method != api.ByDeviceCode {
		a.UserCode, a.VerificationURI, a.URL = "", "", "https://login.example/authorize?state=x"
	}
	b.auths[a.ID] = a
	return a, nil
}

func (b *memBackend) AddMonitor(_ context.Context, account string, in api.AddMonitorRequest) (api.Monitor, error) {
	upn := in.UPN
	if err := b.account(account); err != nil {
		return api.Monitor{}, err
	}
	for _, m := range b.monitors[account] {
		if strings.EqualFold(m.UPN, upn) {
			return api.Monitor{}, Conflict("%s is a monitor already", upn)
		}
	}
	m := api.Monitor{UPN: upn, State: "unset", Added: true, OwnSecret: in.ClientSecret != "", Since: when, Capacity: 650}
	b.monitors[account] = append(b.monitors[account], m)
	return m, nil
}

// monitor finds one and changes it.
func (b *memBackend) monitor(account, upn string, change func(*api.Monitor)) (api.Monitor, error) {
	if err := b.account(account); err != nil {
		return api.Monitor{}, err
	}
	for i := range b.monitors[account] {
		if m := &b.monitors[account][i]; strings.EqualFold(m.UPN, upn) {
			change(m)
			return *m, nil
		}
	}
	return api.Monitor{}, NotFound("account %s has no monitor %s", account, upn)
}

func (b *memBackend) RemoveMonitor(_ context.Context, account, upn string) (api.Monitor, error) {
	return b.monitor(account, upn, func(m *api.Monitor) { m.State, m.Subscription = "retired", nil })
}

func (b *memBackend) RetryMonitor(_ context.Context, account, upn string) (api.Monitor, error) {
	return b.monitor(account, upn, func(m *api.Monitor) { m.State = "authorized" })
}

func (b *memBackend) RenewMonitor(_ context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error) {
	m, err := b.monitor(account, upn, func(m *api.Monitor) { m.State, m.SignedInAt = "authorized", when })
	return api.Authorization{ID: "renewed", Account: account, UPN: m.UPN, Method: cmp.Or(in.Method, api.ByDeviceCode), ClientID: in.ClientID, State: api.AuthorizationDone, Message: "accepted"}, err
}

func (b *memBackend) Reseal(context.Context) (api.Resealed, error) {
	return api.Resealed{Key: "0123456789abcdef", Values: 3, Resealed: 2}, nil
}

func (b *memBackend) Probe(_ context.Context, account string) (api.Probe, error) {
	return api.Probe{State: api.ProbeReached, UPN: "presence2@contoso.com", TookMS: 7, Code: "c", Text: "t"}, b.account(account)
}

func (b *memBackend) CheckPBXs(_ context.Context, account string) ([]api.PBXCheck, error) {
	n := 7
	return []api.PBXCheck{{
		Name: "main", Error: "e", Kind: "refused", Remedy: "r", Statuses: []presence.Status{{Name: "Busy", Kind: presence.KindBusy}}, StatusesError: "s",
		Users: &n, Warnings: []api.PBXWarning{{Code: "competitor", Text: "t", Remedy: "r"}},
	}}, b.account(account)
}

func (b *memBackend) RotateCertificate(_ context.Context, account string) (api.CertificateRotation, error) {
	return api.CertificateRotation{CertificateID: account + "-1", Subscriptions: 2, Until: when}, b.account(account)
}

func (b *memBackend) Authorization(ctx context.Context, _, id string, wait time.Duration) (api.Authorization, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		b.mu.Lock()
		a, ok := b.auths[id]
		news := b.news
		b.mu.Unlock()
		if !ok {
			return a, NotFound("there is no sign-in %q", id)
		}
		if !a.Pending() {
			return a, nil
		}
		b.waits.Add(1)
		select {
		case <-ctx.Done():
			return a, nil
		case <-news:
		}
	}
}

// settle ends a sign-in.
func (b *memBackend) settle(id, state, message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.auths[id]
	b.auths[id] = api.Authorization{ID: id, Account: a.Account, UPN: a.UPN, Method: a.Method, State: state, Message: message}
	close(b.news)
	b.news = make(chan struct{})
}

func (b *memBackend) Resync(ctx context.Context, account, member string, report func(Progress)) error {
	b.mu.Lock()
	b.asked = append(b.asked, account+"/"+member)
	b.mu.Unlock()
	if b.resync == nil {
		return nil
	}
	return b.resync(ctx, account, member, report)
}

// kit is a console with a backend, whose every answer is compared with openapi.yaml.
type kit struct {
	*Console
	backend *memBackend
	reg     *prometheus.Registry
	router  routers.Router
}

func newKit(t testing.TB, change func(*Config)) *kit {
	t.Helper()
	k := &kit{backend: newMemBackend(), reg: prometheus.NewPedanticRegistry(), router: specRouter(t)}
	cfg := Config{Backend: k.backend, Token: testToken, Gatherer: k.reg, Metrics: k.reg, Version: "v1"}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	k.Console = c
	return k
}

func loadDoc(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openapiYAML)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	return doc
}

var specRouterOnce = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapiYAML)
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

func specRouter(t testing.TB) routers.Router {
	t.Helper()
	r, err := specRouterOnce()
	require.NoError(t, err)
	return r
}

// call sends a request with the token and checks the answer against openapi.yaml.
func (k *kit) call(t testing.TB, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+testToken)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	k.Handler().ServeHTTP(w, req)
	k.conforms(t, req, w)
	return w
}

func (k *kit) conforms(t testing.TB, req *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	route, params, err := k.router.FindRoute(req)
	if err != nil { // no such route: nothing is promised
		if req.Method == http.MethodOptions {
			return // Echo answers those by itself
		}
		require.GreaterOrEqual(t, w.Code, 400, "%s %s is answered and not in openapi.yaml", req.Method, req.URL)
		return
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: w.Code, Header: w.Header(),
		Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Options: in.Options}
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), out), "%s %s answered %d: %s", req.Method, req.URL, w.Code, w.Body)
}

func newRequest(method, path, body string) *http.Request {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+testToken)
	return req
}

func do(k *kit, req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	k.Handler().ServeHTTP(w, req)
	return w
}

func sortMembers(m []api.Member) {
	slices.SortFunc(m, func(a, b api.Member) int { return strings.Compare(a.ID, b.ID) })
}

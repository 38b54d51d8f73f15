// Package client is the command line's way to a running bridge: the admin API of package console,
// with typed methods and errors that say what to do. The wire format is package api.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"presencebridge/bridge/console/client/api"
)

const (
	callTimeout       = 30 * time.Second       // on top of what a call waits for news
	wait              = 25 * time.Second       // per request: less than proxies give up after
	maxAnswer         = 64 << 20               // bytes: a page of 1000 members takes about one MiB
	retries           = 5                      // in a row, of a request that only reads
	retryPause        = 500 * time.Millisecond // doubled each time
	jobPace           = 100 * time.Millisecond // between two requests for one job
	authorizationPace = time.Second
)

// Client talks to one bridge. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// Option changes a Client.
type Option func(*Client)

// WithTransport uses another transport, for example one with a private CA.
func WithTransport(t http.RoundTripper) Option { return func(c *Client) { c.http.Transport = t } }

// New makes a client for the bridge whose admin listener is at address ("http://127.0.0.1:8080") and that
// has this token.
func New(address, token string, opts ...Option) (*Client, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("address of the bridge: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("address of the bridge: %q is not like http://127.0.0.1:8080", u.Redacted())
	case token == "":
		return nil, errors.New("the token of the bridge is empty: it is the content of admin-token in data_dir")
	}
	c := &Client{base: strings.TrimRight(address, "/"), token: token, http: &http.Client{
		// The token must not follow a redirect to anywhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// Accounts lists the accounts.
func (c *Client) Accounts(ctx context.Context) ([]api.Account, error) {
	var out api.Accounts
	err := c.read(ctx, "/accounts", 0, &out)
	return out.Accounts, err
}

// Members goes through the members of an account, page by page, or through those with text in their
// name, UPN, mail, extension or id. It ends with the first error.
func (c *Client) Members(ctx context.Context, account, text string) iter.Seq2[api.Member, error] {
	return func(yield func(api.Member, error) bool) {
		for after := ""; ; {
			q := url.Values{"limit": {strconv.Itoa(api.MaxLimit)}}
			setIf(q, "q", text)
			setIf(q, "after", after)
			var page api.Members
			if err := c.read(ctx, at("accounts", account, "members")+"?"+q.Encode(), 0, &page); err != nil {
				yield(api.Member{}, err)
				return
			}
			for _, m := range page.Members {
				if !yield(m, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == after {
				yield(api.Member{}, fmt.Errorf("the bridge answered the same page of members twice (after %q)", after))
				return
			}
			after = page.Next
		}
	}
}

// Member finds a member by id, UPN or mail.
func (c *Client) Member(ctx context.Context, account, key string) (api.Member, error) {
	var out api.Member
	err := c.read(ctx, at("accounts", account, "members", key), 0, &out)
	return out, err
}

// Explain says why a member (id, UPN, mail or extension) looks as they do, or looked at some moment. Zero times mean now,
// and wherever the cause is; times in sentences are in the zone.
func (c *Client) Explain(ctx context.Context, account, key string, moment, since time.Time, zone *time.Location) (api.Explanation, error) {
	q := url.Values{}
	if !moment.IsZero() {
		q.Set("at", moment.UTC().Format(time.RFC3339Nano))
	}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	when := moment
	if when.IsZero() {
		when = time.Now()
	}
	q.Set("zone", when.In(zone).Format("-07:00"))
	var out api.Explanation
	err := c.read(ctx, at("accounts", account, "members", key, "explain")+"?"+q.Encode(), 0, &out)
	return out, err
}

// Monitors lists the monitors of an account.
func (c *Client) Monitors(ctx context.Context, account string) ([]api.Monitor, error) {
	var out api.Monitors
	err := c.read(ctx, at("accounts", account, "monitors"), 0, &out)
	return out.Monitors, err
}

// Authorize begins a sign-in for a monitor by device code. The answer says which code its user must enter where.
func (c *Client) Authorize(ctx context.Context, account, upn string) (api.Authorization, error) {
	return c.AuthorizeBy(ctx, account, upn, api.ByDeviceCode)
}

// AuthorizeBy begins a sign-in for a monitor. The answer says where to sign in, and with which code.
func (c *Client) AuthorizeBy(ctx context.Context, account, upn string, method api.Method) (api.Authorization, error) {
	return c.AuthorizeWith(ctx, account, upn, api.AuthorizeRequest{Method: method})
}

// AuthorizeWith is AuthorizeBy for an application of several.
func (c *Client) AuthorizeWith(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error) {
	var out api.Authorization
	err := c.call(ctx, http.MethodPost, at("accounts", account, "monitors", upn, "authorize"), in, 0, &out)
	return out, err
}

// RenewMonitor has a monitor take up a new secret or another application. The answer is that of AuthorizeBy, and
// final at once where nobody needs to sign in.
func (c *Client) RenewMonitor(ctx context.Context, account, upn string, method api.Method) (api.Authorization, error) {
	return c.RenewMonitorWith(ctx, account, upn, api.AuthorizeRequest{Method: method})
}

// RenewMonitorWith is RenewMonitor with a new secret of the monitor's own, or for an application of several.
func (c *Client) RenewMonitorWith(ctx context.Context, account, upn string, in api.AuthorizeRequest) (api.Authorization, error) {
	var out api.Authorization
	err := c.call(ctx, http.MethodPost, at("accounts", account, "monitors", upn, "renew"), in, 0, &out)
	return out, err
}

// AddMonitor makes a user a monitor.
func (c *Client) AddMonitor(ctx context.Context, account, upn string) (api.Monitor, error) {
	return c.AddMonitorWith(ctx, account, api.AddMonitorRequest{UPN: upn})
}

// AddMonitorWith is AddMonitor with a secret of the monitor's own.
func (c *Client) AddMonitorWith(ctx context.Context, account string, in api.AddMonitorRequest) (api.Monitor, error) {
	var out api.Monitor
	err := c.call(ctx, http.MethodPost, at("accounts", account, "monitors"), in, 0, &out)
	return out, err
}

// RemoveMonitor deletes a monitor's subscription and wipes its secrets.
func (c *Client) RemoveMonitor(ctx context.Context, account, upn string) (api.Monitor, error) {
	var out api.Monitor
	err := c.call(ctx, http.MethodDelete, at("accounts", account, "monitors", upn), nil, 0, &out)
	return out, err
}

// RetryMonitor has a monitor tried again at once.
func (c *Client) RetryMonitor(ctx context.Context, account, upn string) (api.Monitor, error) {
	var out api.Monitor
	err := c.call(ctx, http.MethodPost, at("accounts", account, "monitors", upn, "retry"), nil, 0, &out)
	return out, err
}

// AwaitAuthorization waits until a sign-in is no longer pending, however it ended: that is in the
// answer. An error means that nobody knows.
func (c *Client) AwaitAuthorization(ctx context.Context, a api.Authorization) (api.Authorization, error) {
	for last := time.Now(); a.Pending(); {
		path := at("accounts", a.Account, "authorizations", a.ID) + "?wait=" + seconds(wait)
		var next api.Authorization
		if err := c.read(ctx, path, wait, &next); err != nil {
			return a, err
		}
		a = next
		if a.Pending() {
			last = pace(ctx, last, authorizationPace)
		}
	}
	return a, nil
}

// Resync begins a resync: of one member (id, UPN or mail), of an account if member is empty, or of every
// account if both are. If an overlapping one is running, the error is an [*Error] with its Job.
func (c *Client) Resync(ctx context.Context, account, member string) (api.Job, error) {
	path, body := "/resync", any(struct{}{})
	switch {
	case account != "":
		path, body = at("accounts", account, "resync"), api.ResyncRequest{Member: member}
	case member != "":
		return api.Job{}, errors.New("a resync of one member needs the account")
	}
	var out api.Job
	err := c.call(ctx, http.MethodPost, path, body, 0, &out)
	return out, err
}

// Job returns a job as it stands.
func (c *Client) Job(ctx context.Context, id string) (api.Job, error) {
	var out api.Job
	err := c.read(ctx, at("jobs", id), 0, &out)
	return out, err
}

// AwaitJob waits until a job has finished, however that went: it is in the answer. progress, if not nil, is
// called with each news, the last included.
func (c *Client) AwaitJob(ctx context.Context, id string, progress func(api.Job)) (api.Job, error) {
	last := time.Now()
	for revision := uint64(0); ; last = pace(ctx, last, jobPace) {
		var job api.Job
		path := at("jobs", id) + "?wait=" + seconds(wait) + "&revision=" + strconv.FormatUint(revision, 10)
		if err := c.read(ctx, path, wait, &job); err != nil {
			return job, err
		}
		if progress != nil && job.Revision != revision {
			progress(job)
		}
		if !job.Running() {
			return job, nil
		}
		revision = job.Revision
	}
}

// pace waits until interval has passed since last, and returns when that is: a bridge that has news all
// the time, or that does not wait for them, must not be asked without a break.
func pace(ctx context.Context, last time.Time, interval time.Duration) time.Time {
	pause(ctx, interval-time.Since(last))
	return time.Now()
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// read is a GET, tried again while the bridge cannot be reached: a connection may break, and the
// bridge may be restarting.
func (c *Client) read(ctx context.Context, path string, waits time.Duration, out any) error {
	for try, rest := 1, retryPause; ; try, rest = try+1, 2*rest {
		err := c.call(ctx, http.MethodGet, path, nil, waits, out)
		var reach *ReachError
		if !errors.As(err, &reach) || reach.Final || try == retries || ctx.Err() != nil {
			return err
		}
		pause(ctx, rest)
	}
}

func (c *Client) call(ctx context.Context, method, path string, in any, waits time.Duration, out any) error {
	limited, cancel := context.WithTimeout(ctx, callTimeout+waits)
	defer cancel()
	var body io.Reader
	if in != nil {
		js, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(js)
	}
	req, err := http.NewRequestWithContext(limited, method, c.base+"/api/v1"+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.unreachable(ctx, err)
	case len(answer) > maxAnswer:
		return &ReachError{Address: c.base, Final: true, Err: fmt.Errorf("the answer is longer than %d bytes", maxAnswer)}
	case resp.StatusCode >= 300:
		return c.problem(resp, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return &ReachError{Address: c.base, Final: true, Err: fmt.Errorf("what answers there is no bridge, or another version: %w", err)}
	}
	return nil
}

// unreachable turns an error of the transport into one that a person can act on. It leaves out the URL,
// which is long and says nothing new.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var dns *net.DNSError
	final := errors.As(err, &dns) && dns.IsNotFound
	return &ReachError{Address: c.base, Final: final, Err: err}
}

// problem reads an error of the API, or makes one of an answer that is none of its.
func (c *Client) problem(resp *http.Response, answer []byte) error {
	var p api.Problem
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" || json.Unmarshal(answer, &p) != nil || p.Status == 0 {
		return &ReachError{Address: c.base, Final: true,
			Err: fmt.Errorf("it answered %s, which is not how a bridge answers: is this its admin listener?", resp.Status)}
	}
	return &Error{Problem: p}
}

func at(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + segment(p))
	}
	return b.String()
}

// segment escapes a path segment. A segment of dots alone would otherwise be taken for navigation.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

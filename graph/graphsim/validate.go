package graphsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"sync"
)

// acceptable checks a notification URL: HTTPS, or on loopback HTTP if that is allowed.
func (p *post) acceptable(raw string, optional bool) error {
	if raw == "" && optional {
		return nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return fmt.Errorf("notificationUrl %q is not an absolute URL", raw)
	}
	if u.Scheme == "https" {
		return nil
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback())
	if u.Scheme == "http" && p.sim.cfg.Delivery.AllowHTTP && loopback {
		return nil
	}
	return fmt.Errorf("notificationUrl %q must be HTTPS", raw)
}

// validate asks all endpoints at once whether they want the notifications. Two equal URLs are asked
// twice.
func (p *post) validate(ctx context.Context, id string, urls ...string) error {
	ctx, cancel := context.WithTimeout(ctx, validationTimeout)
	defer cancel()
	errs := make([]error, len(urls))
	var asking sync.WaitGroup
	for i, u := range urls {
		if u == "" {
			continue
		}
		asking.Go(func() { errs[i] = p.validateOne(ctx, id, u) })
	}
	asking.Wait()
	return errors.Join(errs...)
}

// validateOne makes one validation request. The token is a sentence, as has been seen.
func (p *post) validateOne(ctx context.Context, id, raw string) error {
	token := fmt.Sprintf("Validation: Testing client application reachability for subscription Request-Id: %s + %s%%", p.sim.draw.guid(), id)
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("notificationUrl %q: %w", raw, err)
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "validationToken=" + url.QueryEscape(token)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), http.NoBody)
	if err != nil {
		return fmt.Errorf("notificationUrl %q: %w", raw, err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := p.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return errValidationTimeout
		}
		return fmt.Errorf("Subscription validation request failed. Unable to connect: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case err != nil && ctx.Err() != nil:
		return errValidationTimeout
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("Subscription validation request failed. Response must be 200 OK, not %d.", resp.StatusCode) //nolint:staticcheck // Graph's own wording
	case kind != "text/plain":
		return fmt.Errorf("Subscription validation request failed. Content-Type must be text/plain, not %q.", kind) //nolint:staticcheck // Graph's own wording
	case string(body) != token:
		return errors.New("Subscription validation request failed. The response does not match the validation token.") //nolint:staticcheck // Graph's own wording
	}
	return nil
}

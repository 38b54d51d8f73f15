package micollab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"presencebridge/bridge/pbx"
)

const (
	// maxUsers is more than any PBX has: a listing that goes on is no listing.
	maxUsers = 500_000
	// maxIdlePages is how many pages in a row may show nobody new.
	maxIdlePages = 100
	// pageTries is how often a page is asked for before the snapshot fails.
	pageTries = 5
	// maxPageWait is the longest Retry-After that a snapshot sits out.
	maxPageWait = 30 * time.Second
)

var errEndless = errors.New("the listing of users does not end")

// Snapshot implements [pbx.Connector]. A page that fails is asked for again a few times, since a listing
// of many pages would otherwise seldom come to its end on a bad day.
func (c *Client) Snapshot(ctx context.Context) ([]pbx.User, error) {
	const op = "list users"
	if err := c.ensureStatuses(ctx); err != nil {
		return nil, err
	}
	l := listing{index: map[string]int{}, book: map[string]seen{}, marks: map[string]bool{}}
	for after := ""; ; {
		page, err := c.page(ctx, after)
		if err != nil {
			return nil, err
		}
		c.take(ctx, &l, page)
		if page.Next == "" {
			break
		}
		if err := l.mayGoOn(page.Next); err != nil {
			c.metrics.Bad("listing")
			return nil, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: fmt.Errorf("%w: %w", errBadAnswer, err)}
		}
		after = page.Next
	}
	if l.bad > 0 {
		c.cfg.Log.WarnContext(ctx, "users of the pbx cannot be read", "count", l.bad)
	}
	if c.users.listed(l.book, time.Now()) {
		c.users.want()
	}
	return l.users, nil
}

// listing is a snapshot in the making.
type listing struct {
	users []pbx.User
	index map[string]int // of users
	book  map[string]seen
	marks map[string]bool // `next` that came
	idle  int             // pages in a row without anybody new
	added int             // by the last page
	bad   int
}

// mayGoOn refuses what would never end: a mark that came before, many pages without anybody new, more
// users than there can be.
func (l *listing) mayGoOn(next string) error {
	if l.added == 0 {
		l.idle++
	} else {
		l.idle = 0
	}
	if l.marks[next] || l.idle >= maxIdlePages || len(l.users) > maxUsers {
		return errEndless
	}
	l.marks[next] = true
	return nil
}

// add takes one user. Somebody who is on two pages, because others came and went in between, counts as
// the newer version says.
func (l *listing) add(u pbx.User, s seen) {
	i, dup := l.index[u.ID]
	switch {
	case !dup:
		l.index[u.ID] = len(l.users)
		l.users = append(l.users, u)
		l.added++
	case u.State.Version >= l.users[i].State.Version:
		l.users[i] = u
	default:
		return
	}
	l.book[u.ID] = s
}

// take reads a page. A user without a readable presence is listed with an unknown one; one without an id
// cannot be listed.
func (c *Client) take(ctx context.Context, l *listing, page wirePage) {
	l.added = 0
	for _, raw := range *page.Users {
		var u wireUser
		if json.Unmarshal(raw, &u) != nil || u.ID == "" || len(u.ID) > maxID {
			l.bad++
			c.metrics.Bad("user")
			continue
		}
		user := pbx.User{ID: u.ID, Email: u.Email, Extension: u.Extension, DisplayName: u.DisplayName}
		p, err := decodePresence(u.Presence)
		if err != nil || len(u.Presence) > maxPresence {
			l.bad++
			c.metrics.Bad("user")
			l.add(user, seen{})
			continue
		}
		user.State = c.state(ctx, p)
		l.add(user, seen{p.version(), p.Status})
	}
}

// page reads one page, if need be more than once.
func (c *Client) page(ctx context.Context, after string) (wirePage, error) {
	bo := &backoff.ExponentialBackOff{InitialInterval: c.cfg.BackoffMin, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: c.cfg.BackoffMax}
	bo.Reset()
	for try := 1; ; try++ {
		page, err := c.onePage(ctx, after)
		if err == nil {
			return page, nil
		}
		var pe *pbx.Error
		retry := errors.As(err, &pe) && (pe.Kind == pbx.Throttled || pe.Kind == pbx.Unanswered && !errors.Is(err, errBadAnswer))
		if !retry || try == pageTries || pe.RetryAfter > maxPageWait || !wait(ctx, max(bo.NextBackOff(), pe.RetryAfter)) {
			return page, err
		}
	}
}

func (c *Client) onePage(ctx context.Context, after string) (wirePage, error) {
	const op = "list users"
	q := url.Values{"limit": {strconv.Itoa(c.cfg.PageSize)}}
	if after != "" {
		q.Set("after", after)
	}
	body, err := c.do(ctx, request{op: op, method: http.MethodGet, path: "/v1/users?" + q.Encode(), maxBody: maxPage})
	if err != nil {
		return wirePage{}, err
	}
	var page wirePage
	err = json.Unmarshal(body, &page)
	if err == nil && page.Users == nil {
		// An empty object must not look like a PBX without users.
		err = errors.New("users is missing")
	}
	if err != nil {
		c.metrics.Bad("answer")
		return page, &pbx.Error{Kind: pbx.Unanswered, Op: op, Err: fmt.Errorf("%w: %w", errBadAnswer, err)}
	}
	return page, nil
}

// wait waits, and says whether it did to the end.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

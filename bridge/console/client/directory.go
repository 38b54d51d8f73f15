package client

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"strconv"

	"presencebridge/bridge/console/client/api"
)

// DirectoryCounts says how many findings of each kind an account has.
func (c *Client) DirectoryCounts(ctx context.Context, account string) (map[string]int, error) {
	var page api.Directory
	err := c.read(ctx, at("accounts", account, "directory")+"?limit=1", 0, &page)
	return page.Counts, err
}

// Directory goes through the findings of one kind, page by page. It ends with the first error.
func (c *Client) Directory(ctx context.Context, account, kind string) iter.Seq2[api.Finding, error] {
	return func(yield func(api.Finding, error) bool) {
		for after := ""; ; {
			q := url.Values{"limit": {strconv.Itoa(api.MaxLimit)}, "kind": {kind}}
			setIf(q, "after", after)
			var page api.Directory
			if err := c.read(ctx, at("accounts", account, "directory")+"?"+q.Encode(), 0, &page); err != nil {
				yield(api.Finding{}, err)
				return
			}
			for _, f := range page.Findings {
				if !yield(f, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page.Next == after {
				yield(api.Finding{}, fmt.Errorf("the bridge answered the same page of findings twice (after %q)", after))
				return
			}
			after = page.Next
		}
	}
}

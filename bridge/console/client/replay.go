package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"presencebridge/bridge/console/client/api"
)

// ReplayPolicy asks who would have looked different under another policy, and hands over each line of the answer as it
// comes. It returns the summary.
func (c *Client) ReplayPolicy(ctx context.Context, account string, in api.ReplayRequest, each func(api.ReplayItem) error) (api.ReplaySummary, error) {
	var none api.ReplaySummary
	js, err := json.Marshal(in)
	if err != nil {
		return none, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/api/v1"+at("accounts", account, "policy", "replay"), bytes.NewReader(js))
	if err != nil {
		return none, fmt.Errorf("replay: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/x-ndjson, application/problem+json")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return none, c.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return none, c.unreachable(ctx, err)
		}
		return none, c.problem(resp, answer)
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var item api.ReplayItem
		switch err := dec.Decode(&item); {
		case errors.Is(err, io.EOF):
			return none, &ReachError{Address: c.base, Err: errors.New("the answer ended before its end")}
		case err != nil:
			return none, c.unreachable(ctx, err)
		case item.Error != "":
			return none, errors.New(item.Error)
		case item.Summary != nil:
			return *item.Summary, nil
		}
		if err := each(item); err != nil {
			return none, err
		}
	}
}

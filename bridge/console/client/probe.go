package client

import (
	"context"
	"net/http"
	"time"

	"presencebridge/bridge/console/client/api"
)

// probePatience is how long a probe may take: Graph waits 10 s for the bridge, and the bridge for Graph.
const probePatience = 45 * time.Second

// Probe has Graph validate the public URLs of an account, through a monitor that is free.
func (c *Client) Probe(ctx context.Context, account string) (api.Probe, error) {
	var out api.Probe
	err := c.call(ctx, http.MethodPost, at("accounts", account, "probe"), nil, probePatience, &out)
	return out, err
}

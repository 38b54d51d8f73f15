package client

import (
	"context"
	"net/http"
	"time"

	"presencebridge/bridge/console/client/api"
)

// pbxPatience is how long trying the PBXs of an account may take: each of their requests has its own limit.
const pbxPatience = 60 * time.Second

// CheckPBXs has the owner of an account try its PBXs now.
func (c *Client) CheckPBXs(ctx context.Context, account string) ([]api.PBXCheck, error) {
	var out api.PBXChecks
	err := c.call(ctx, http.MethodPost, at("accounts", account, "pbx", "check"), nil, pbxPatience, &out)
	return out.PBXs, err
}

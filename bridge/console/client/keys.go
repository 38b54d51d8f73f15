package client

import (
	"context"
	"net/http"

	"presencebridge/bridge/console/client/api"
)

// Reseal has every stored secret sealed again under the newest master key.
func (c *Client) Reseal(ctx context.Context) (api.Resealed, error) {
	var out api.Resealed
	err := c.call(ctx, http.MethodPost, at("keys", "reseal"), nil, 0, &out)
	return out, err
}

// RotateCertificate makes a new encryption certificate for an account's subscriptions.
func (c *Client) RotateCertificate(ctx context.Context, account string) (api.CertificateRotation, error) {
	var out api.CertificateRotation
	err := c.call(ctx, http.MethodPost, at("accounts", account, "certificate", "rotate"), nil, 0, &out)
	return out, err
}

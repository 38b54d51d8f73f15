package console

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
	"presencebridge/bridge/presence"
)

func (c *Console) listAccounts(ctx echo.Context) error {
	accounts, err := c.cfg.Backend.Accounts(ctx.Request().Context())
	if err != nil {
		return err
	}
	for i := range accounts {
		a := &accounts[i]
		a.PBXs = list(a.PBXs)
		if a.Members == nil {
			a.Members = map[presence.Coverage]int{}
		}
	}
	return ctx.JSON(http.StatusOK, api.Accounts{Accounts: list(accounts)})
}

func (c *Console) listMembers(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	limit, err := intQuery(ctx, "limit", api.DefaultLimit, 1, api.MaxLimit)
	if err != nil {
		return err
	}
	page, err := c.cfg.Backend.Members(ctx.Request().Context(), account,
		MemberQuery{After: ctx.QueryParam("after"), Limit: limit, Text: ctx.QueryParam("q")})
	if err != nil {
		return err
	}
	page.Members = list(page.Members)
	for i := range page.Members {
		tidy(&page.Members[i])
	}
	return ctx.JSON(http.StatusOK, page)
}

func (c *Console) getMember(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	key, err := param(ctx, "member")
	if err != nil {
		return err
	}
	m, err := c.cfg.Backend.Member(ctx.Request().Context(), account, key)
	if err != nil {
		return err
	}
	tidy(&m)
	return ctx.JSON(http.StatusOK, m)
}

// tidy makes lists of what the backend left nil: the API has no null lists.
func tidy(m *api.Member) {
	m.Endpoints = list(m.Endpoints)
	m.Teams.Because = list(m.Teams.Because)
	if m.Teams.OrganicState == "" {
		m.Teams.OrganicState = "unknown"
	}
	for i := range m.Endpoints {
		m.Endpoints[i].Because = list(m.Endpoints[i].Because)
	}
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

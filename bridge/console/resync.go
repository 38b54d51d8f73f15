package console

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"presencebridge/bridge/console/client/api"
)

func (c *Console) resyncAccount(ctx echo.Context) error {
	account, err := param(ctx, "account")
	if err != nil {
		return err
	}
	var req api.ResyncRequest
	if err := decode(ctx, &req); err != nil {
		return err
	}
	scope := api.Scope{Account: account}
	if req.Member != "" {
		m, err := c.cfg.Backend.Member(ctx.Request().Context(), account, req.Member)
		if err != nil {
			return err
		}
		scope.Member = m.ID
		return c.startJob(ctx, scope, []string{account})
	}
	names, err := c.accountNames(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(names, account) {
		return NotFound("there is no account %q", account)
	}
	return c.startJob(ctx, scope, []string{account})
}

func (c *Console) resyncAll(ctx echo.Context) error {
	var none struct{}
	if err := decode(ctx, &none); err != nil {
		return err
	}
	names, err := c.accountNames(ctx)
	if err != nil {
		return err
	}
	return c.startJob(ctx, api.Scope{}, names)
}

func (c *Console) accountNames(ctx echo.Context) ([]string, error) {
	accounts, err := c.cfg.Backend.Accounts(ctx.Request().Context())
	if err != nil {
		return nil, err
	}
	names := make([]string, len(accounts))
	for i, a := range accounts {
		names[i] = a.Name
	}
	return names, nil
}

func (c *Console) startJob(ctx echo.Context, scope api.Scope, accounts []string) error {
	job, started, err := c.jobs.start(ctx.Request().Context(), scope, accounts)
	switch {
	case errors.Is(err, errClosing):
		return Unavailable("%s", err)
	case err != nil:
		return err
	}
	ctx.Response().Header().Set(echo.HeaderLocation, "/api/v1/jobs/"+job.ID)
	if !started {
		return &problem{kind: api.ProblemJobRunning, status: http.StatusConflict, job: job.ID,
			detail: "job " + job.ID + " is running and covers " + job.Scope.String() + ": wait for it"}
	}
	return ctx.JSON(http.StatusAccepted, job)
}

func (c *Console) listJobs(ctx echo.Context) error {
	return ctx.JSON(http.StatusOK, api.Jobs{Jobs: c.jobs.all()})
}

func (c *Console) getJob(ctx echo.Context) error {
	id, err := param(ctx, "id")
	if err != nil {
		return err
	}
	wait, err := waitQuery(ctx)
	if err != nil {
		return err
	}
	revision := uint64(0)
	if text := ctx.QueryParam("revision"); text != "" {
		if revision, err = strconv.ParseUint(text, 10, 64); err != nil {
			return invalid("revision: want the revision of an earlier answer")
		}
	}
	job, err := c.jobs.get(ctx.Request().Context(), id, revision, wait, c.stopping)
	if err != nil {
		return err
	}
	return ctx.JSON(http.StatusOK, job)
}

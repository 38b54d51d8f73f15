package threecx

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"presencebridge/bridge/pbx"
)

var (
	errTooOld       = errors.New("the pbx is older than version 20")
	errNotMonitored = errors.New("the api client may monitor none of the users' extensions")
)

// Verify implements [pbx.Connector]. It looks at version, users, calls and the WebSocket unless the watch has one, tries the right to write with
// a PATCH that changes nothing, and looks for what [Client.Connection] warns of.
func (c *Client) Verify(ctx context.Context) error {
	if err := c.checkVersion(ctx); err != nil {
		return err
	}
	list, err := c.list(ctx, false)
	if err != nil {
		return err
	}
	dns, err := c.allCalls(ctx)
	if err != nil {
		return err
	}
	numbers := make([]string, 0, len(list))
	for _, u := range list {
		numbers = append(numbers, u.Number)
	}
	if err := c.checkMonitored(numbers, dns); err != nil {
		return err
	}
	if c.tracker.Show().State != pbx.ConnConnected { // else the watch has one
		sock, err := c.dial(ctx)
		if err != nil {
			return err
		}
		_ = sock.CloseNow()
	}
	if len(list) > 0 {
		if err := c.verifyWrite(ctx, list[0].ID); err != nil {
			return err
		}
	}
	return c.checkCompetitor(ctx)
}

// checkVersion reads the PBX's version, by which expires_in is understood.
func (c *Client) checkVersion(ctx context.Context) error {
	const op = "get system status"
	body, err := c.do(ctx, request{op: op, area: areaXAPI, method: http.MethodGet, path: "/xapi/v1/SystemStatus", maxBody: maxOne})
	if err != nil {
		return err
	}
	var status struct{ Version string }
	if err := json.Unmarshal(body, &status); err != nil {
		c.metrics.Bad("answer")
		return bad(op, err)
	}
	if older, known := before(status.Version, 20); known && older {
		return &pbx.Error{Kind: pbx.Refused, Op: op, Err: errTooOld, Remedy: explain(errTooOld).Remedy}
	}
	c.tokens.learnt(status.Version)
	return nil
}

// checkMonitored compares the users with the extensions that we are told of.
func (c *Client) checkMonitored(numbers []string, dns []wireDN) error {
	told := make(map[string]bool, len(dns))
	for _, d := range dns {
		told[d.DN] = true
	}
	missing := slices.DeleteFunc(slices.Clone(numbers), func(n string) bool { return told[n] })
	w := pbx.Warning{Code: "not_monitored"}
	switch {
	case len(missing) == 0:
	case len(missing) == len(numbers):
		return &pbx.Error{Kind: pbx.Refused, Op: "list calls", Err: errNotMonitored, Remedy: explain(errNotMonitored).Remedy}
	default:
		slices.Sort(missing)
		w.Text = fmt.Sprintf("The PBX tells the API client nothing about the calls of %d of %d extensions, for example %s.",
			len(missing), len(numbers), strings.Join(missing[:min(5, len(missing))], ", "))
		w.Remedy = "Put them into the list of extensions that the API client may monitor (Integrations > API > the client > Call Control API)."
	}
	c.warn(w)
	return nil
}

// verifyWrite tries the right to write with a change of nothing.
func (c *Client) verifyWrite(ctx context.Context, id int) error {
	_, err := c.do(ctx, request{
		op: "verify the right to write", area: areaWrite, method: http.MethodPatch, path: fmt.Sprintf("/xapi/v1/Users(%d)", id),
		body: []byte("{}"), contentType: "application/json", maxBody: maxOne, one: true,
	})
	if pbx.KindOf(err) == pbx.Gone || isStatus(err, http.StatusBadRequest) {
		return nil // who left proves nothing; nor does a version that wants something to change
	}
	return err
}

// checkCompetitor looks for the PBX's own synchronisation with Teams (facts: 3CX's own Teams presence sync). A client
// that may not see it is told nothing.
func (c *Client) checkCompetitor(ctx context.Context) error {
	const op = "get microsoft 365 integration"
	body, err := c.do(ctx, request{op: op, area: areaXAPI, method: http.MethodGet, path: "/xapi/v1/Microsoft365Integration", maxBody: maxOne})
	switch {
	case isStatus(err, http.StatusNotFound), isStatus(err, http.StatusForbidden):
		return nil
	case err != nil:
		return err
	}
	on, err := syncsPresence(body)
	if err != nil {
		c.metrics.Bad("answer")
		return bad(op, err)
	}
	w := pbx.Warning{Code: pbx.WarnCompetitor}
	if on {
		w.Text = "The PBX's own synchronisation of presence with Microsoft Teams is on: it and the bridge write over each other."
		w.Remedy = "Turn it off in the PBX's console: Integrations > Microsoft 365 > Sync, presence in both directions."
	}
	c.warn(w)
	return nil
}

// syncsPresence tells whether the PBX sets presence in Teams, or its own by Teams.
func syncsPresence(body []byte) (bool, error) {
	type bindings []json.RawMessage
	var it struct {
		AdUsers *struct {
			IsEnabled               bool
			SetTeamsPresence        bool
			StatusSyncConfiguration *struct {
				M365ToPbxBindings, PBXToM365Bindings bindings
				PBXToM365Busy                        bool
			}
		}
	}
	if err := json.Unmarshal(body, &it); err != nil {
		return false, err
	}
	if it.AdUsers == nil {
		return false, nil
	}
	sync := it.AdUsers.StatusSyncConfiguration
	return it.AdUsers.SetTeamsPresence || it.AdUsers.IsEnabled && sync != nil && (len(sync.M365ToPbxBindings) > 0 || len(sync.PBXToM365Bindings) > 0 || sync.PBXToM365Busy), nil
}

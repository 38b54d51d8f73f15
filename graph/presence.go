package graph

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/microsoftgraph/msgraph-sdk-go/communications"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/users"

	"presencebridge/bridge/presence"
)

// MaxPresences is how many users one read or one subscription can name
// (learn:api/cloudcommunications-getpresencesbyuserid).
const MaxPresences = 650

// Bounds of a session's life (learn:api/presence-setpresence).
const (
	MinLease = 5 * time.Minute
	MaxLease = 4 * time.Hour
)

// Presence is what Graph says about a user.
type Presence struct {
	UserID string
	Pair   presence.Pair
	// OutOfOffice is nil where the cloud does not say.
	OutOfOffice *bool
	// Sequence orders the versions of one user's presence, compared as a string; "" where the cloud has none.
	Sequence      string
	StatusMessage string
}

// Shown is the same in the words of package presence.
func (p *Presence) Shown() presence.Shown {
	s := presence.Shown{Pair: p.Pair, Message: p.StatusMessage}
	if p.OutOfOffice != nil {
		s.OutOfOffice = presence.AbsenceNo
		if *p.OutOfOffice {
			s.OutOfOffice = presence.AbsenceYes
		}
	}
	return s
}

// base is where the SDK's builders begin.
func (c *Client) base() map[string]string {
	return map[string]string{"baseurl": c.graph + "/v1.0"}
}

// userPresence is the SDK's builder of a user's presence.
func (c *Client) userPresence(id string) *users.ItemPresenceRequestBuilder {
	return users.NewUsersRequestBuilderInternal(c.base(), c.adapter).ByUserId(id).Presence()
}

// canPresence refuses in clouds without a presence API, and without a user.
func (c *Client) canPresence(op, user string) error {
	if !c.cloud.Presence {
		return refused(op, fmt.Sprintf("the cloud %s has no presence API", c.cloud.Cloud))
	}
	if user == "" {
		return refused(op, "no user given")
	}
	return nil
}

// Presence reads one user's presence. A user that Graph does not know is [Gone].
func (c *Client) Presence(ctx context.Context, userID string) (Presence, error) {
	const op = "get presence"
	if err := c.canPresence(op, userID); err != nil {
		return Presence{}, err
	}
	info, err := c.userPresence(userID).ToGetRequestInformation(ctx, nil)
	body, err := c.send(ctx, c.reading(ctx, op), info, err)
	if err != nil {
		return Presence{}, err
	}
	p, err := decodePresence(body)
	if err != nil {
		return Presence{}, answerUnreadable(op)
	}
	if p.UserID == "" {
		p.UserID = userID
	}
	return p, nil
}

const opPresences = "get presences"

// Presences reads up to [MaxPresences] users' presence at once. Users that Graph leaves out are left out; the
// order is Graph's.
//
// No page says what Graph makes of an id that it does not know among many, and a list must not be lost for one user who
// was deleted a minute ago: when several are refused as a whole (400, 404) they are asked for in halves, and
// those who are refused alone are left out.
func (c *Client) Presences(ctx context.Context, ids []string) ([]Presence, error) {
	const op = opPresences
	switch {
	case len(ids) == 0:
		return nil, nil
	case len(ids) > MaxPresences:
		return nil, refused(op, fmt.Sprintf("%d users at once, Graph takes %d: split them", len(ids), MaxPresences))
	}
	if err := c.canPresence(op, ids[0]); err != nil {
		return nil, err
	}
	list, err := c.presences(ctx, ids)
	if len(ids) == 1 || !refusedAsWhole(err) {
		return list, err
	}
	refusals := 1
	list, apart := c.halves(ctx, ids, &refusals)
	switch {
	case apart != nil && !refusedAsWhole(apart):
		return nil, apart
	case apart != nil || len(list) == 0:
		return nil, err // it was not about single users
	}
	c.log.Warn("graph refused a list of users because of some of them, the others were read", "asked", len(ids), "read", len(list))
	return list, nil
}

// maxRefusals bounds the search for those who cause a refusal: four of them among 650.
const maxRefusals = 44

// refusedAsWhole tells whether a list was refused in a way that can be about one of it.
func refusedAsWhole(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Status == http.StatusBadRequest || e.Status == http.StatusNotFound) && (e.Kind == Refused || e.Kind == Gone)
}

// halves reads both halves of a list that was refused, and halves again what is refused again.
func (c *Client) halves(ctx context.Context, ids []string, refusals *int) ([]Presence, error) {
	var all []Presence
	for _, half := range [][]string{ids[:len(ids)/2], ids[len(ids)/2:]} {
		list, err := c.presences(ctx, half)
		if refusedAsWhole(err) {
			if *refusals++; *refusals > maxRefusals {
				return nil, err
			}
			list, err = nil, nil
			if len(half) > 1 {
				list, err = c.halves(ctx, half, refusals)
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

// presences is one getPresencesByUserId.
func (c *Client) presences(ctx context.Context, ids []string) ([]Presence, error) {
	const op = opPresences
	body := communications.NewGetPresencesByUserIdPostRequestBody()
	body.SetIds(ids)
	info, err := communications.NewCommunicationsRequestBuilderInternal(c.base(), c.adapter).
		GetPresencesByUserId().ToPostRequestInformation(ctx, body, nil)
	answer, err := c.send(ctx, c.reading(ctx, op), info, err)
	if err != nil {
		return nil, err
	}
	list, err := decodePresences(answer, len(ids))
	if err != nil {
		return nil, answerUnreadable(op)
	}
	return list, nil
}

// reading is an app-only read.
func (c *Client) reading(ctx context.Context, op string) call {
	return call{op: op, class: classRead, lane: readLane(ctx), tokens: c.app, repeatable: true}
}

// writing is an app-only write, which is never repeated when nobody knows whether it landed.
func (c *Client) writing(op string, lane int) call {
	return call{op: op, class: classWrite, lane: lane, tokens: c.app}
}

// answerUnreadable is a 2xx answer that is not what its page describes.
func answerUnreadable(op string) *Error {
	return &Error{Kind: Transient, Op: op, Status: 200, Code: "answer_unreadable", Message: "the answer is not what Graph documents"}
}

// SetPresence sets the application's own session of a user, or prolongs it, for lease ([MinLease] to [MaxLease]). Graph
// takes five pairs only and ignores or refuses others. A failure of kind [Transient] with Unanswered set may have
// been applied, and may still be, for as long as Config.Timeout and Graph's own queues let it.
func (c *Client) SetPresence(ctx context.Context, userID string, p presence.Pair, lease time.Duration) error {
	const op = "set presence"
	if err := c.canPresence(op, userID); err != nil {
		return err
	}
	if lease < MinLease || lease > MaxLease {
		return refused(op, fmt.Sprintf("a lease of %v, Graph takes %v to %v", lease, MinLease, MaxLease))
	}
	body := users.NewItemPresenceSetPresencePostRequestBody()
	body.SetSessionId(&c.cfg.ClientID) // the page demands the application's id
	body.SetAvailability(&p.Availability)
	body.SetActivity(&p.Activity)
	body.SetAdditionalData(expiring(lease))
	info, err := c.userPresence(userID).SetPresence().ToPostRequestInformation(ctx, body, nil)
	_, err = c.send(ctx, c.writing(op, setLane(ctx)), info, err)
	return err
}

// ClearPresence ends the application's own session of a user. That there is none (404) is success. It goes
// ahead of all other writes.
func (c *Client) ClearPresence(ctx context.Context, userID string) error {
	const op = "clear presence"
	if err := c.canPresence(op, userID); err != nil {
		return err
	}
	body := users.NewItemPresenceClearPresencePostRequestBody()
	body.SetSessionId(&c.cfg.ClientID)
	info, err := c.userPresence(userID).ClearPresence().ToPostRequestInformation(ctx, body, nil)
	_, err = c.send(ctx, c.writing(op, laneClear), info, err)
	if IsKind(err, Gone) {
		return nil
	}
	return err
}

// SetPreferredPresence sets what the user is shown as whatever their sessions say, for expires (0: Graph's default, one
// day for Busy and DoNotDisturb, otherwise seven). It overwrites what the user chose.
func (c *Client) SetPreferredPresence(ctx context.Context, userID string, p presence.Pair, expires time.Duration) error {
	const op = "set preferred presence"
	if err := c.canPresence(op, userID); err != nil {
		return err
	}
	if expires < 0 {
		return refused(op, fmt.Sprintf("an expiry of %v cannot be", expires))
	}
	body := users.NewItemPresenceSetUserPreferredPresencePostRequestBody()
	body.SetAvailability(&p.Availability)
	body.SetActivity(&p.Activity)
	if expires > 0 {
		body.SetAdditionalData(expiring(expires))
	}
	info, err := c.userPresence(userID).SetUserPreferredPresence().ToPostRequestInformation(ctx, body, nil)
	_, err = c.send(ctx, c.writing(op, setLane(ctx)), info, err)
	return err
}

// ClearPreferredPresence takes the preferred presence away, whoever chose it.
func (c *Client) ClearPreferredPresence(ctx context.Context, userID string) error {
	const op = "clear preferred presence"
	if err := c.canPresence(op, userID); err != nil {
		return err
	}
	info, err := c.userPresence(userID).ClearUserPreferredPresence().ToPostRequestInformation(ctx, nil)
	_, err = c.send(ctx, c.writing(op, laneClear), info, err)
	return err
}

// SetStatusMessage sets the user's status message; "" takes it away. A zero until means for ever.
func (c *Client) SetStatusMessage(ctx context.Context, userID, text string, until time.Time) error {
	const op = "set status message"
	if err := c.canPresence(op, userID); err != nil {
		return err
	}
	content, kind := models.NewItemBody(), models.TEXT_BODYTYPE
	content.SetContent(&text)
	content.SetContentType(&kind) // the only type that is documented
	message := models.NewPresenceStatusMessage()
	message.SetMessage(content)
	if !until.IsZero() {
		// dateTime carries no offset (learn:api/presence-setstatusmessage).
		at, zone := until.UTC().Format("2006-01-02T15:04:05.0000000"), "UTC"
		expiry := models.NewDateTimeTimeZone()
		expiry.SetDateTime(&at)
		expiry.SetTimeZone(&zone)
		message.SetExpiryDateTime(expiry)
	}
	body := users.NewItemPresenceSetStatusMessagePostRequestBody()
	body.SetStatusMessage(message)
	info, err := c.userPresence(userID).SetStatusMessage().ToPostRequestInformation(ctx, body, nil)
	_, err = c.send(ctx, c.writing(op, setLane(ctx)), info, err)
	return err
}

// isoDuration is a duration as Graph's pattern has it, rounded up to whole seconds. The SDK's own type writes seven
// days as P1W, which the pattern does not know, so it goes beside the typed fields.
func isoDuration(d time.Duration) string {
	s := int(math.Ceil(d.Seconds()))
	out := "P"
	if days := s / 86400; days > 0 {
		out += fmt.Sprintf("%dD", days)
	}
	if s %= 86400; s > 0 {
		out += "T"
	}
	for _, part := range []struct {
		n    int
		unit string
	}{{s / 3600, "H"}, {s / 60 % 60, "M"}, {s % 60, "S"}} {
		if part.n > 0 {
			out += fmt.Sprintf("%d%s", part.n, part.unit)
		}
	}
	return out
}

// expiring is the field that carries a duration.
func expiring(d time.Duration) map[string]any {
	return map[string]any{"expirationDuration": isoDuration(d)}
}

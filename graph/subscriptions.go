package graph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/subscriptions"
)

// SubscriptionRequest is a presence subscription to be made (learn:api/subscription-post-subscriptions).
type SubscriptionRequest struct {
	// UserIDs are the members to be watched: 1 to [MaxPresences], object ids, distinct.
	UserIDs []string
	// NotificationURL and LifecycleURL receive the notifications. Graph validates both while the request
	// is under way, so the receiver must be up. LifecycleURL cannot be added later.
	NotificationURL, LifecycleURL string
	// ClientState comes back in each notification; at most 128 characters. Secret.
	ClientState string
	// Expiration asked for; Graph raises less than 45 minutes to that and allows at most 60.
	Expiration time.Time
	// EncryptionCertificate is the DER of the certificate that notifications are encrypted for.
	EncryptionCertificate []byte
	// EncryptionCertificateID comes back in each notification; at most 128 characters.
	EncryptionCertificateID string
}

// Subscription is a subscription as Graph has it.
type Subscription struct {
	ID              string
	Resource        string
	NotificationURL string
	// Expiration is Graph's own word, which may differ from what was asked for.
	Expiration time.Time
	// ApplicationID and CreatorID are whose it is.
	ApplicationID, CreatorID string
	EncryptionCertificateID  string
}

// IsPresence tells whether the subscription is one of presence.
func (s Subscription) IsPresence() bool {
	return strings.Contains(strings.ToLower(s.Resource), "communications/presences")
}

type wireSubscription struct {
	ID                      string   `json:"id"`
	Resource                string   `json:"resource"`
	NotificationURL         string   `json:"notificationUrl"`
	Expiration              wireTime `json:"expirationDateTime"`
	ApplicationID           string   `json:"applicationId"`
	CreatorID               string   `json:"creatorId"`
	EncryptionCertificateID string   `json:"encryptionCertificateId"`
}

func (w wireSubscription) subscription() Subscription {
	return Subscription{
		ID: w.ID, Resource: w.Resource, NotificationURL: w.NotificationURL, Expiration: w.Expiration.Time,
		ApplicationID: w.ApplicationID, CreatorID: w.CreatorID, EncryptionCertificateID: w.EncryptionCertificateID,
	}
}

// builder is the SDK's builder of subscriptions.
func (d *Delegated) builder() *subscriptions.SubscriptionsRequestBuilder {
	return subscriptions.NewSubscriptionsRequestBuilderInternal(d.client.base(), d.client.adapter)
}

// subscribing is a call about subscriptions as the signed-in user.
func (d *Delegated) subscribing(op string, repeatable bool) call {
	return call{op: op, class: classSubscription, lane: laneOnly, tokens: d.tokens, repeatable: repeatable}
}

// CreateSubscription makes the user's presence subscription. [Conflict]: there is one already, of the same resource or of another:
// list, adopt or delete. A failure with Unanswered set may have made one: list.
func (d *Delegated) CreateSubscription(ctx context.Context, r SubscriptionRequest) (Subscription, error) {
	const op = "create subscription"
	if !d.client.cloud.Subscriptions {
		return Subscription{}, refused(op, fmt.Sprintf("the cloud %s has no presence subscriptions: its members are polled", d.client.cloud.Cloud))
	}
	if problem := r.check(); problem != "" {
		return Subscription{}, refused(op, problem)
	}
	d.tokens.outlive(deliveryToken)
	info, err := d.builder().ToPostRequestInformation(ctx, r.model(), nil)
	k := d.subscribing(op, false)
	k.secrets = []string{r.ClientState}
	body, err := d.client.send(ctx, k, info, err)
	if err != nil {
		return Subscription{}, err
	}
	return readSubscription(op, body, "")
}

// deliveryToken is how long the token of a subscription must last: Graph delivers with the token that the last POST or
// PATCH came with, and pauses when that ends (learn:change-notifications-delivery-webhooks). Longer than
// the time between two renewals.
const deliveryToken = 40 * time.Minute

// userIDPattern is an object id. Nothing else goes into the filter.
var userIDPattern = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// check says what is wrong with a request; "" if nothing is.
func (r SubscriptionRequest) check() string {
	if n := len(r.UserIDs); n == 0 || n > MaxPresences {
		return fmt.Sprintf("%d users, a subscription has 1 to %d", n, MaxPresences)
	}
	seen := make(map[string]bool, len(r.UserIDs))
	for _, id := range r.UserIDs {
		if !userIDPattern.MatchString(id) {
			return "a user id is no object id"
		}
		key := strings.ToLower(id)
		if seen[key] {
			return "a user is named twice: the ids must be distinct"
		}
		seen[key] = true
	}
	switch {
	case r.NotificationURL == "":
		return "no notification URL given"
	case len(r.ClientState) > 128:
		return "the client state is longer than 128 characters"
	case len(r.EncryptionCertificateID) > 128:
		return "the certificate id is longer than 128 characters"
	case len(r.EncryptionCertificate) == 0 || r.EncryptionCertificateID == "":
		return "no certificate and id to encrypt for: presence without resource data says nothing"
	case r.Expiration.IsZero():
		return "no expiration given"
	}
	return ""
}

// model is the request in the SDK's words.
func (r SubscriptionRequest) model() models.Subscriptionable {
	changes, rich := "updated", true
	resource := "/communications/presences?$filter=id in ('" + strings.Join(r.UserIDs, "','") + "')"
	certificate := base64.StdEncoding.EncodeToString(r.EncryptionCertificate)
	expiration := r.Expiration.UTC()
	m := models.NewSubscription()
	m.SetChangeType(&changes)
	m.SetResource(&resource)
	m.SetNotificationUrl(&r.NotificationURL)
	if r.LifecycleURL != "" {
		m.SetLifecycleNotificationUrl(&r.LifecycleURL)
	}
	m.SetExpirationDateTime(&expiration)
	m.SetIncludeResourceData(&rich)
	m.SetEncryptionCertificate(&certificate)
	m.SetEncryptionCertificateId(&r.EncryptionCertificateID)
	if r.ClientState != "" {
		m.SetClientState(&r.ClientState)
	}
	return m
}

// RenewSubscription asks for another expiration and returns what Graph made of it. [Gone]: it is to be made anew. Never
// combine it with /reauthorize (learn:change-notifications-lifecycle-events).
func (d *Delegated) RenewSubscription(ctx context.Context, id string, until time.Time) (Subscription, error) {
	const op = "renew subscription"
	if id == "" {
		return Subscription{}, refused(op, "no subscription given")
	}
	until = until.UTC()
	d.tokens.outlive(deliveryToken)
	m := models.NewSubscription()
	m.SetExpirationDateTime(&until)
	info, err := d.builder().BySubscriptionId(id).ToPatchRequestInformation(ctx, m, nil)
	body, err := d.client.send(ctx, d.subscribing(op, true), info, err)
	if err != nil {
		return Subscription{}, err
	}
	return readSubscription(op, body, id)
}

// readSubscription reads an answer that must hold an id, or is about a known one, and an expiration.
func readSubscription(op string, body []byte, id string) (Subscription, error) {
	var w wireSubscription
	if err := tolerant(json.Unmarshal(body, &w)); err != nil {
		return Subscription{}, answerUnreadable(op)
	}
	s := w.subscription()
	s.ID = first(s.ID, id)
	if s.ID == "" || s.Expiration.IsZero() {
		return Subscription{}, answerUnreadable(op)
	}
	return s, nil
}

// ListSubscriptions lists what this application has made for this user, of all kinds; see
// [Subscription.IsPresence]. Graph allows 25 in 20 s.
func (d *Delegated) ListSubscriptions(ctx context.Context) ([]Subscription, error) {
	const op = "list subscriptions"
	k := call{op: op, class: classList, lane: laneOnly, tokens: d.tokens, repeatable: true}
	builder := d.builder()
	var list []Subscription
	next := ""
	for range maxPages {
		info, err := builder.ToGetRequestInformation(ctx, nil)
		body, err := d.client.send(ctx, k, info, err)
		if err != nil {
			return nil, err
		}
		var page struct {
			Value []wireSubscription `json:"value"`
			Next  string             `json:"@odata.nextLink"`
		}
		if err := tolerant(json.Unmarshal(body, &page)); err != nil {
			return nil, answerUnreadable(op)
		}
		for _, w := range page.Value {
			if w.ID != "" {
				list = append(list, w.subscription())
			}
		}
		if page.Next == "" {
			return list, nil
		}
		if page.Next == next {
			break
		}
		next = page.Next
		builder = builder.WithUrl(next)
	}
	return nil, refused(op, "the pages do not end: Graph's next link leads back")
}

// DeleteSubscription deletes a subscription. That there is none (404) is success.
func (d *Delegated) DeleteSubscription(ctx context.Context, id string) error {
	const op = "delete subscription"
	if id == "" {
		return refused(op, "no subscription given")
	}
	info, err := d.builder().BySubscriptionId(id).ToDeleteRequestInformation(ctx, nil)
	_, err = d.client.send(ctx, d.subscribing(op, true), info, err)
	if IsKind(err, Gone) {
		return nil
	}
	return err
}

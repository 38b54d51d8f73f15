package graphsim

import (
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Limits of presence subscriptions (learn:changenotifications-for-presence,
// learn:api/resources/subscription).
const (
	maxWatched       = 650
	minLife          = 45 * time.Minute
	maxLife          = 60 * time.Minute
	maxClientState   = 128
	maxSubscriptions = 10_000
)

// subscriptionBody is a subscription on the wire.
type subscriptionBody struct {
	ID                string  `json:"id,omitempty"`
	ChangeType        string  `json:"changeType,omitempty"`
	NotificationURL   string  `json:"notificationUrl,omitempty"`
	LifecycleURL      string  `json:"lifecycleNotificationUrl,omitempty"`
	Resource          string  `json:"resource,omitempty"`
	Expiration        string  `json:"expirationDateTime,omitempty"`
	ClientState       *string `json:"clientState"` // never returned, but there as null
	IncludeResource   *bool   `json:"includeResourceData,omitempty"`
	Certificate       string  `json:"encryptionCertificate,omitempty"`
	CertificateID     string  `json:"encryptionCertificateId,omitempty"`
	TLSVersion        string  `json:"latestSupportedTlsVersion,omitempty"`
	ApplicationID     string  `json:"applicationId,omitempty"`
	CreatorID         string  `json:"creatorId,omitempty"`
	ContentType       *string `json:"notificationContentType"`
	NotificationAppID *string `json:"notificationUrlAppId"`
	QueryOptions      *string `json:"notificationQueryOptions"`
}

// wire is what a subscription shows of itself. Under mu.
func (s *subscription) wire() subscriptionBody {
	out := subscriptionBody{ID: s.id, ChangeType: "updated", NotificationURL: s.notificationURL, LifecycleURL: s.lifecycleURL,
		Resource: s.resource, Expiration: s.expires.UTC().Format("2006-01-02T15:04:05.9999999Z"), IncludeResource: &s.rich,
		Certificate: s.certificate, CertificateID: s.keyID, TLSVersion: "v1_2", ApplicationID: s.app, CreatorID: s.creator}
	if s.rich {
		kind := "application/json"
		out.ContentType = &kind
	}
	return out
}

// readCertificate checks an encryption certificate (learn:change-notifications-with-resource-data):
// base64 of the DER, RSA of 2048 to 4096 bits.
func (s *subscription) readCertificate(encoded, id string) error {
	der, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("encryptionCertificate is not base64: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("encryptionCertificate is not an X.509 certificate: %w", err)
	}
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < 2048 || key.N.BitLen() > 4096 {
		return fmt.Errorf("encryptionCertificate must hold an RSA key of 2048 to 4096 bits")
	}
	if id == "" || len(id) > 128 {
		return fmt.Errorf("encryptionCertificateId must have 1 to 128 characters")
	}
	s.key, s.keyID, s.certificate = key, id, encoded
	s.thumb = fmt.Sprintf("%X", sha1.Sum(der))
	return nil
}

// lifetime applies the rules of expirationDateTime: at most 60 min, and raised to 45 min below that. No more than most is
// granted.
func lifetime(raw string, now time.Time, most time.Duration) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, raw)
	switch {
	case err != nil:
		return t, fmt.Errorf("expirationDateTime %q cannot be read", raw)
	case !t.After(now):
		return t, fmt.Errorf("Subscription expiration must be in the future")
	case t.After(now.Add(maxLife)):
		return t, fmt.Errorf("Subscription expiration can only be 60 minutes in the future.") //nolint:staticcheck // Graph's own wording
	case t.Before(now.Add(minLife)):
		return now.Add(min(minLife, most)), nil
	case t.After(now.Add(most)):
		return now.Add(most), nil
	default:
		return t, nil
	}
}

func (s *Sim) subscriptionRoutes(mux *http.ServeMux) {
	op := func(name string, c class, mutates bool, serve func(c *call) (reply, effect)) http.HandlerFunc {
		// Application permission is not supported for presence (learn:api/subscription-post-subscriptions).
		return s.graph(operation{name: name, class: c, mutates: mutates, delegated: []string{"Presence.Read.All"}, serve: serve})
	}
	mux.HandleFunc("POST /v1.0/subscriptions", op("createSubscription", classSubscribe, true, (*call).createSubscription))
	mux.HandleFunc("GET /v1.0/subscriptions", op("listSubscriptions", classList, false, (*call).listSubscriptions))
	mux.HandleFunc("GET /v1.0/subscriptions/{id}", op("getSubscription", classSubscribe, false, (*call).getSubscription))
	mux.HandleFunc("PATCH /v1.0/subscriptions/{id}", op("renewSubscription", classSubscribe, true, (*call).renewSubscription))
	mux.HandleFunc("DELETE /v1.0/subscriptions/{id}", op("deleteSubscription", classSubscribe, true, (*call).deleteSubscription))
	mux.HandleFunc("POST /v1.0/subscriptions/{id}/reauthorize", op("reauthorizeSubscription", classReauthorize, true, (*call).reauthorizeSubscription))
}

// createSubscription is POST /subscriptions, with the validation of the endpoints in the middle.
func (c *call) createSubscription() (reply, effect) {
	var in subscriptionBody
	if err := json.Unmarshal(c.body, &in); err != nil {
		return badRequest("The body cannot be read: %v", err)
	}
	if c.sim.cfg.Government {
		return badRequest("Presence subscriptions are not supported in this cloud.")
	}
	n, err := c.newSubscription(in)
	if err != nil {
		return invalid(err)
	}
	h := c.sim.hub
	if refusal, ok := h.room(n); !ok {
		return refusal, nil
	}
	if err := c.sim.post.validate(c.r.Context(), n.id, n.notificationURL, n.lifecycleURL); err != nil {
		return invalid(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if refusal, ok := h.roomLocked(n); !ok { // another may have been made meanwhile
		return refusal, nil
	}
	h.subs[n.id], h.owners[owner(n.app, n.creator)] = n, n
	for _, id := range n.ids {
		h.watchers[id] = append(h.watchers[id], n)
	}
	h.tick()
	c.sim.post.challenge(n)
	return reply{status: http.StatusCreated, body: n.wire()}, nil
}

func invalid(err error) (reply, effect) {
	return refuse(http.StatusBadRequest, "InvalidRequest", err.Error()), nil
}

// newSubscription checks a request.
func (c *call) newSubscription(in subscriptionBody) (*subscription, error) {
	now := time.Now()
	n := &subscription{id: c.sim.draw.guid(), app: c.id.app, creator: c.id.user, resource: in.Resource, notificationURL: in.NotificationURL,
		lifecycleURL: in.LifecycleURL, rich: in.IncludeResource != nil && *in.IncludeResource, created: now, authorised: c.id.expires, last: map[string]time.Time{}}
	if in.ChangeType != "updated" {
		return nil, fmt.Errorf("changeType %q is not supported for presence, only updated", in.ChangeType)
	}
	var err error
	if n.ids, err = parseResource(in.Resource); err != nil {
		return nil, err
	}
	if n.expires, err = lifetime(in.Expiration, now, c.sim.cfg.SubscriptionLife); err != nil {
		return nil, err
	}
	if in.ClientState != nil {
		n.clientState = *in.ClientState
	}
	if len(n.clientState) > maxClientState {
		return nil, fmt.Errorf("clientState must have at most %d characters", maxClientState)
	}
	for _, u := range []string{in.NotificationURL, in.LifecycleURL} {
		if err := c.sim.post.acceptable(u, u == in.LifecycleURL && in.LifecycleURL == ""); err != nil {
			return nil, err
		}
	}
	if n.rich || in.Certificate != "" {
		if err := n.readCertificate(in.Certificate, in.CertificateID); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// mine is the subscription of the path, if it is the caller's. Under mu.
func (c *call) mine() *subscription {
	h := c.sim.hub
	h.sweep(time.Now())
	s := h.subs[strings.ToLower(c.r.PathValue("id"))]
	if s == nil || s.app != c.id.app || s.creator != c.id.user {
		return nil
	}
	return s
}

func noSubscription() (reply, effect) {
	return refuse(http.StatusNotFound, "ResourceNotFound", "The object was not found."), nil
}

func (c *call) getSubscription() (reply, effect) {
	c.sim.hub.mu.Lock()
	defer c.sim.hub.mu.Unlock()
	s := c.mine()
	if s == nil {
		return noSubscription()
	}
	return reply{status: http.StatusOK, body: s.wire()}, nil
}

// listSubscriptions lists those that this application made for this user.
func (c *call) listSubscriptions() (reply, effect) {
	h := c.sim.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweep(time.Now())
	value := []subscriptionBody{}
	if s := h.owners[owner(c.id.app, c.id.user)]; s != nil {
		value = append(value, s.wire())
	}
	return reply{status: http.StatusOK, body: map[string]any{"@odata.context": c.sim.base + "/v1.0/$metadata#subscriptions", "value": value}}, nil
}

// renewSubscription is PATCH: a new end, a new URL, or with one of them a new certificate.
func (c *call) renewSubscription() (reply, effect) {
	var in subscriptionBody
	if err := json.Unmarshal(c.body, &in); err != nil {
		return badRequest("The body cannot be read: %v", err)
	}
	if in.Expiration == "" && in.NotificationURL == "" {
		return badRequest("expirationDateTime or notificationUrl is required.")
	}
	if in.Resource != "" || in.ChangeType != "" || in.LifecycleURL != "" || in.ClientState != nil {
		return badRequest("Only expirationDateTime, notificationUrl and the encryption certificate can be updated.")
	}
	h := c.sim.hub
	h.mu.Lock()
	s := c.mine()
	h.mu.Unlock()
	if s == nil {
		return noSubscription()
	}
	if in.NotificationURL != "" {
		err := c.sim.post.acceptable(in.NotificationURL, false)
		if err == nil {
			err = c.sim.post.validate(c.r.Context(), s.id, in.NotificationURL)
		}
		if err != nil {
			return invalid(err)
		}
	}
	if c.sim.cruelty.requests.hit(c.sim.cruelty.faults().Revalidate) {
		return invalid(errValidationTimeout)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s = c.mine(); s == nil {
		return noSubscription()
	}
	if err := s.update(in, c.sim.cfg.SubscriptionLife); err != nil {
		return invalid(err)
	}
	h.reauthorised(s, c.id.expires)
	return reply{status: http.StatusOK, body: s.wire()}, nil
}

// update takes over what a PATCH says. Under mu.
func (s *subscription) update(in subscriptionBody, most time.Duration) error {
	expires := s.expires
	if in.Expiration != "" {
		var err error
		if expires, err = lifetime(in.Expiration, time.Now(), most); err != nil {
			return err
		}
	}
	if in.Certificate != "" {
		if err := s.readCertificate(in.Certificate, in.CertificateID); err != nil {
			return err
		}
	}
	s.expires = expires
	if in.NotificationURL != "" {
		s.notificationURL = in.NotificationURL
	}
	return nil
}

func (c *call) deleteSubscription() (reply, effect) {
	c.sim.hub.mu.Lock()
	defer c.sim.hub.mu.Unlock()
	s := c.mine()
	if s == nil {
		return noSubscription()
	}
	c.sim.hub.drop(s)
	return reply{status: http.StatusNoContent}, nil
}

// reauthorizeSubscription lets delivery go on, without a new end.
func (c *call) reauthorizeSubscription() (reply, effect) {
	c.sim.hub.mu.Lock()
	defer c.sim.hub.mu.Unlock()
	s := c.mine()
	if s == nil {
		return noSubscription()
	}
	c.sim.hub.reauthorised(s, c.id.expires)
	return reply{status: http.StatusNoContent}, nil
}

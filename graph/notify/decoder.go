package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"presencebridge/bridge/presence"
)

// refusalLogInterval is the least time between two log lines about the same reason.
const refusalLogInterval = time.Minute

// Result is what a body says.
type Result struct {
	// Items has one element per element of "value", in order.
	Items []Item
	// Tokens has one element per validation token, if there was a rich item that needed them.
	Tokens   []TokenResult
	Oddities OdditySet
	// Err is an [*Error] when the body as a whole was refused, or the context ended.
	Err error
}

// Retry tells whether the body must be kept and decoded again, and how long to wait at least (0: not
// known). Nothing of it should be acted upon before.
func (r *Result) Retry() (wait time.Duration, retry bool) {
	look := func(err error) {
		if e, ok := errors.AsType[*Error](err); ok && e.Retry() {
			wait, retry = max(wait, e.RetryAfter), true
		}
	}
	look(r.Err)
	for i := range r.Items {
		look(r.Items[i].Err)
	}
	return wait, retry
}

// EstimateWork is about how much CPU time it takes to decode a body: the RSA operations of its rich items.
// It does not parse, and costs next to nothing.
func EstimateWork(body []byte) time.Duration {
	return time.Duration(len(body))*time.Nanosecond + time.Duration(bytes.Count(body, []byte(`"dataKey"`)))*rsaWork
}

// rsaWork is one RSA private operation at 2048 bits.
const rsaWork = 700 * time.Microsecond

// Decoder decodes the bodies of one account. It is safe for concurrent use and has no goroutines
// outside of Decode.
type Decoder struct {
	cfg      Config
	tokens   tokenVerifier
	metrics  *metrics
	refusals [reasonCount]rate.Sometimes
}

// New makes a Decoder.
func New(cfg Config) (*Decoder, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Metrics, cfg.Account)
	if err != nil {
		return nil, err
	}
	d := &Decoder{cfg: cfg, metrics: m, tokens: tokenVerifier{
		keys: cfg.Keys, tenant: normalID(cfg.TenantID), audiences: cfg.Audiences, issuers: cfg.Issuers,
		publisher: cfg.Publisher, leeway: cfg.Leeway, now: cfg.Now,
		cache: tokenCache{max: cfg.TokenCache, have: make(map[[32]byte]TokenResult)},
	}}
	for i := range d.refusals {
		d.refusals[i].Interval = refusalLogInterval
	}
	return d, nil
}

// Decode reads a body. It never fails as a call: what is wrong is said in the Result, per item where it
// can be. progress, if not nil, is called after each rich item that was taken through decryption, whatever
// came out, and never by two goroutines at once: a caller that has the body for a limited time can
// prolong it there. Items that are refused before cost no time to speak of.
//
// The work is done by this goroutine and by at most as many more as the pool has slots, all of which
// have ended when Decode returns.
func (d *Decoder) Decode(ctx context.Context, body []byte, progress func()) Result {
	res := d.decode(ctx, body, progress)
	d.metrics.count(&res)
	d.logRefusals(ctx, &res)
	return res
}

func (d *Decoder) decode(ctx context.Context, body []byte, progress func()) Result {
	if len(body) > d.cfg.MaxBody {
		return Result{Err: fail(ReasonTooLarge, "", fmt.Errorf("%d bytes, at most %d are read", len(body), d.cfg.MaxBody))}
	}
	var raws []rawItem
	out, err := walk(body, false, func(it *rawItem) bool {
		raws = append(raws, *it)
		return len(raws) <= d.cfg.MaxItems
	})
	if err != nil {
		return Result{Err: err, Oddities: out.oddities}
	}
	if len(raws) > d.cfg.MaxItems {
		return Result{Err: fail(ReasonTooLarge, "value", fmt.Errorf("more than %d items", d.cfg.MaxItems))}
	}
	res := Result{Items: make([]Item, len(raws)), Oddities: out.oddities}
	if !out.hasValue {
		res.Err = fail(ReasonNoItems, "value", errors.New("no such array"))
		return res
	}
	var rich []int // the items that are still to be decrypted
	for i := range raws {
		res.Items[i] = d.judge(&raws[i])
		if res.Items[i].Kind == Rich && res.Items[i].Err == nil {
			rich = append(rich, i)
		}
	}
	if len(rich) > 0 {
		res.Tokens, err = d.verifyTokens(ctx, out.tokens)
		d.decrypt(ctx, rich, raws, &res, err, progress)
	}
	for i := range res.Items {
		if ReasonOf(res.Items[i].Err) == ReasonCancelled {
			res.Err = fail(ReasonCancelled, "", context.Cause(ctx))
			break
		}
	}
	return res
}

// judge says what an item is, and checks what can be checked without cryptography.
func (d *Decoder) judge(raw *rawItem) Item {
	it := newItem(raw)
	if err := authenticate(raw, &it, d.tokens.tenant, d.cfg.CheckClientState); err != nil {
		it.Err = err
	}
	return it
}

// newItem says what an item claims to be.
func newItem(raw *rawItem) Item {
	it := Item{
		Index: raw.index, Kind: raw.kind(), SubscriptionID: raw.subscriptionID, TenantID: normalID(raw.tenant()),
		ClientState: raw.clientState, ChangeType: raw.changeType, LifecycleEvent: raw.lifecycleEvent,
		UserID: raw.userOf(), CertificateID: raw.content.certificateID,
	}
	if it.UserID == "" && it.Kind == Basic {
		it.UserID = raw.userInResource()
	}
	if raw.expiration != "" {
		t, err := ParseTime(raw.expiration)
		if err != nil {
			it.Oddities.add(OddityTime)
		}
		it.Expiration = t
	}
	if raw.changeType != "" && raw.lifecycleEvent != "" {
		it.Oddities.add(OddityBothKinds)
	}
	if raw.changeType != "" && raw.changeType != "updated" {
		it.Oddities.add(OddityChangeType)
	}
	if raw.tenantID == "" && raw.organizationID != "" {
		it.Oddities.add(OddityOrganizationOnly)
	}
	return it
}

// authenticate checks an item's shape, clientState and tenant.
func authenticate(raw *rawItem, it *Item, tenant string, accept func(state string) bool) *Error {
	switch {
	case raw.err != nil:
		return raw.err
	case raw.clientState == "" || !accept(raw.clientState):
		return fail(ReasonClientState, "clientState", nil)
	case it.TenantID == "" && it.Kind == Rich:
		return fail(ReasonTenant, "tenantId", errors.New("missing"))
	case it.TenantID != "" && it.TenantID != tenant:
		return fail(ReasonTenant, "tenantId", errors.New("not the expected tenant"))
	case it.UserID == "" && it.Kind == Basic:
		return fail(ReasonNoUser, "resourceData.id", errors.New("neither it nor @odata.id nor resource names one user"))
	default:
		return nil
	}
}

// kind tells what sort of item it is. changeType and lifecycleEvent exclude each other
// (learn:api/resources/changenotification); where both are, content decides.
func (it *rawItem) kind() Kind {
	switch {
	case it.dataODataType != "" && !isPresence(it.dataODataType):
		return Ignored
	case it.hasContent:
		return Rich
	case it.lifecycleEvent != "":
		return Lifecycle
	case it.changeType != "" || it.dataODataType != "":
		return Basic
	default:
		return Ignored
	}
}

// verifyTokens verifies all tokens of a body. All must pass
// (learn:change-notifications-with-resource-data); the error is that of the first that did not, where
// one that is refused outweighs one that cannot be judged now.
func (d *Decoder) verifyTokens(ctx context.Context, raws []rawToken) ([]TokenResult, error) {
	switch {
	case len(raws) == 0:
		return nil, fail(ReasonTokenMissing, "validationTokens", nil)
	case len(raws) > d.cfg.MaxTokens:
		return nil, fail(ReasonTooManyTokens, "validationTokens", fmt.Errorf("%d, at most %d are verified", len(raws), d.cfg.MaxTokens))
	}
	results := make([]TokenResult, len(raws))
	var first error
	for i, raw := range raws {
		results[i] = d.tokens.verify(ctx, raw)
		results[i].Index = i
		err, bad := errors.AsType[*Error](results[i].Err)
		if !bad {
			continue
		}
		if first == nil || (ReasonOf(first).Transient() && !err.Retry()) {
			at := *err
			at.Field = fmt.Sprintf("validationTokens[%d]", i)
			if err.Field != "" {
				at.Field += "." + err.Field
			}
			first = &at
		}
	}
	return results, first
}

// decrypt decrypts the items listed in rich, or refuses them all where tokenErr says so.
func (d *Decoder) decrypt(ctx context.Context, rich []int, raws []rawItem, res *Result, tokenErr error, progress func()) {
	if tokenErr == nil && !covered(res.Tokens, d.tokens.tenant) {
		tokenErr = fail(ReasonTokenCover, "validationTokens", errors.New("none is for the item's tenant"))
	}
	if tokenErr != nil {
		for _, i := range rich {
			res.Items[i].Err = tokenErr
		}
		return
	}
	for _, i := range rich { // for those that are not reached
		res.Items[i].Err = errNotReached
	}
	var mu sync.Mutex
	d.cfg.Pool.each(ctx, len(rich), func(n int) {
		i := rich[n]
		begun := time.Now()
		err := d.open(&raws[i], &res.Items[i])
		d.metrics.decrypt.Observe(time.Since(begun).Seconds())
		res.Items[i].Err = nil
		if err != nil {
			res.Items[i].Err = err
		}
		if progress != nil {
			mu.Lock()
			defer mu.Unlock()
			progress()
		}
	})
}

var errNotReached = fail(ReasonCancelled, "", errors.New("not reached before the context ended"))

// covered tells whether a passing token is for the tenant. An item's tenant is the expected one at
// this point, and so is a passing token's; this is what ties the two together.
func covered(tokens []TokenResult, tenant string) bool {
	for i := range tokens {
		if tokens[i].Err == nil && normalID(tokens[i].TenantID) == tenant {
			return true
		}
	}
	return false
}

// open decrypts one rich item and fills in what it says.
func (d *Decoder) open(raw *rawItem, it *Item) *Error {
	cert, second := d.cfg.Certificates.find(raw.content.certificateID, raw.content.thumbprint)
	switch {
	case raw.content.certificateID == "" && raw.content.thumbprint == "":
		return fail(ReasonContentIncomplete, "encryptedContent.encryptionCertificateId", errors.New("missing"))
	case cert == nil:
		return fail(ReasonUnknownCertificate, "encryptedContent.encryptionCertificateId", fmt.Errorf("no key for certificate %.128q", raw.content.certificateID))
	}
	if second {
		it.Oddities.add(OdditySecondKey)
	}
	o, err := raw.content.open(cert.Key)
	if err != nil {
		return err
	}
	return it.fill(o.plain)
}

// fill takes over what was decrypted.
func (it *Item) fill(plain []byte) *Error {
	p, err := parsePlain(plain)
	if err != nil {
		return err
	}
	if p.bom {
		it.Oddities.add(OddityBOM)
	}
	user := normalID(p.ID)
	if user == "" {
		user = userInPath(p.ODataID)
	}
	switch {
	case p.ODataType != "" && !isPresence(p.ODataType):
		return fail(ReasonNoPresence, "@odata.type", errors.New("not a presence"))
	case it.UserID == "":
		it.UserID = user
	case user != "" && user != it.UserID:
		return fail(ReasonUserMismatch, "id", nil)
	}
	if it.UserID == "" {
		return fail(ReasonNoUser, "id", errors.New("neither the item nor its content names a user"))
	}
	if p.Availability == "" || p.Activity == "" {
		return fail(ReasonNoPresence, "availability", errors.New("availability or activity is missing"))
	}
	it.Pair, it.Sequence = presence.ParsePair(p.Availability, p.Activity), p.Sequence
	return nil
}

// logRefusals writes one line per reason, each at most once a minute: the metrics have the numbers.
func (d *Decoder) logRefusals(ctx context.Context, r *Result) {
	d.logRefusal(ctx, r.Err, 0)
	var counts [reasonCount]int
	for i := range r.Items {
		counts[ReasonOf(r.Items[i].Err)]++
	}
	for i := range r.Items {
		if n := counts[ReasonOf(r.Items[i].Err)]; n > 0 {
			d.logRefusal(ctx, r.Items[i].Err, n)
			counts[ReasonOf(r.Items[i].Err)] = 0
		}
	}
}

func (d *Decoder) logRefusal(ctx context.Context, err error, items int) {
	reason := ReasonOf(err)
	if reason == ReasonNone || reason == ReasonCancelled {
		return
	}
	d.refusals[reason].Do(func() {
		d.cfg.Log.WarnContext(ctx, "notification refused", "account", d.cfg.Account, "reason", reason.String(),
			"items", items, "retry", reason.Transient(), "error", err)
	})
}

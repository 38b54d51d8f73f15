package notify

// Head is what the public receiver needs to know of an item: whose it claims to be, and what sort.
// Nothing in it was verified.
type Head struct {
	Index          int
	ClientState    string
	SubscriptionID string
	TenantID       string // tenantId, or organizationId where that is all there is; not normalised
	ChangeType     string // empty in lifecycle items
	LifecycleEvent string // empty in change notifications
	// HasEncryptedContent tells a rich item.
	HasEncryptedContent bool
	// Malformed tells that the item is no object, or has a member of the wrong type or twice. The
	// decoder will refuse it for the same reason.
	Malformed bool
}

// ScanHeads reads a body once and calls visit for each item, in order, until visit returns false; the
// rest of the body is then not looked at. It checks that the body is JSON, tolerates a byte order mark
// and trailing commas as the package comment says, and skips over what the receiver has no use for
// without copying it.
//
// The error is an [*Error] with [ReasonMalformedBody]. It may come after some items have been visited:
// whatever was visited must then be disregarded. A well-formed body without items is no error, and
// visits nothing.
func ScanHeads(body []byte, visit func(Head) bool) error {
	_, err := walk(body, true, func(it *rawItem) bool {
		return visit(Head{
			Index:               it.index,
			ClientState:         it.clientState,
			SubscriptionID:      it.subscriptionID,
			TenantID:            it.tenant(),
			ChangeType:          it.changeType,
			LifecycleEvent:      it.lifecycleEvent,
			HasEncryptedContent: it.hasContent,
			Malformed:           it.err != nil,
		})
	})
	return err
}

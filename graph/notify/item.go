package notify

import (
	"errors"
)

var errTwice = errors.New("there twice")

// bits of the members that an item has, to notice one that is there twice.
const (
	seenClientState = 1 << iota
	seenSubscription
	seenTenant
	seenOrganization
	seenLifecycle
	seenChangeType
	seenResource
	seenExpiration
	seenResourceData
	seenContent
	seenID
	seenODataID
	seenODataType
)

// item reads one element of "value". Only bad JSON is returned as an error; what is wrong with the
// item goes into item.err, and reading continues behind it.
func (w *walker) item(it *rawItem) error {
	if k := w.dec.PeekKind(); k != '{' {
		it.spoil(wrongType("value", k))
		return w.dec.SkipValue()
	}
	var seen uint
	return w.object(func(name string) error { return w.itemMember(it, &seen, name) })
}

func (w *walker) itemMember(it *rawItem, seen *uint, name string) error {
	switch name {
	case "clientState":
		return w.str(it, seen, seenClientState, name, &it.clientState)
	case "subscriptionId":
		return w.str(it, seen, seenSubscription, name, &it.subscriptionID)
	case "tenantId":
		return w.str(it, seen, seenTenant, name, &it.tenantID)
	case "organizationId":
		return w.str(it, seen, seenOrganization, name, &it.organizationID)
	case "lifecycleEvent":
		return w.str(it, seen, seenLifecycle, name, &it.lifecycleEvent)
	case "changeType":
		return w.str(it, seen, seenChangeType, name, &it.changeType)
	case "encryptedContent":
		return w.content(it, seen)
	}
	if w.heads {
		// The receiver needs no more, and "resource" may be 28 KB of echoed filter.
		return w.dec.SkipValue()
	}
	switch name {
	case "resource":
		return w.resource(it, seen)
	case "subscriptionExpirationDateTime":
		return w.str(it, seen, seenExpiration, name, &it.expiration)
	case "resourceData":
		return w.resourceData(it, seen)
	default:
		return w.dec.SkipValue()
	}
}

// str reads a member that is a string or null. null is the same as absent.
func (w *walker) str(it *rawItem, seen *uint, bit uint, field string, to *string) error {
	if *seen&bit != 0 {
		it.spoil(fail(ReasonMalformedItem, field, errTwice))
	}
	*seen |= bit
	switch k := w.dec.PeekKind(); k {
	case '"':
		s, _, err := w.text()
		*to = s
		return err
	case 'n':
		return w.dec.SkipValue()
	default:
		it.spoil(wrongType(field, k))
		return w.dec.SkipValue()
	}
}

// resource reads the resource, and keeps only the beginning of a long one: with an echoed $filter every
// item has 28 KB of it, which name nobody.
func (w *walker) resource(it *rawItem, seen *uint) error {
	if w.dec.PeekKind() != '"' {
		return w.str(it, seen, seenResource, "resource", &it.resource)
	}
	if *seen&seenResource != 0 {
		it.spoil(fail(ReasonMalformedItem, "resource", errTwice))
	}
	*seen |= seenResource
	raw, err := w.dec.ReadValue()
	if err != nil {
		return err
	}
	it.resourceBytes = len(raw) - len(`""`)
	if it.resourceBytes > maxResource {
		raw = append(raw[:maxResource:maxResource], '"')
	}
	it.resource = unquote(raw)
	return nil
}

// maxResource is how much of a resource is kept: enough for every form that names one user.
const maxResource = 1024

// sub reads a member that is an object or null; there tells whether it is an object.
func (w *walker) sub(it *rawItem, seen *uint, bit uint, field string, member func(name string) error) (there bool, err error) {
	if *seen&bit != 0 {
		it.spoil(fail(ReasonMalformedItem, field, errTwice))
	}
	*seen |= bit
	switch k := w.dec.PeekKind(); k {
	case '{':
		if member == nil {
			return true, w.dec.SkipValue()
		}
		return true, w.object(member)
	case 'n':
		return false, w.dec.SkipValue()
	default:
		it.spoil(wrongType(field, k))
		return false, w.dec.SkipValue()
	}
}

func (w *walker) resourceData(it *rawItem, seen *uint) (err error) {
	it.hasResourceData, err = w.sub(it, seen, seenResourceData, "resourceData", func(name string) error {
		switch name {
		case "id":
			return w.str(it, seen, seenID, "resourceData.id", &it.dataID)
		case "@odata.id":
			return w.str(it, seen, seenODataID, "resourceData.@odata.id", &it.dataODataID)
		case "@odata.type":
			return w.str(it, seen, seenODataType, "resourceData.@odata.type", &it.dataODataType)
		default:
			return w.dec.SkipValue()
		}
	})
	return err
}

func (w *walker) content(it *rawItem, seen *uint) (err error) {
	if w.heads {
		it.hasContent, err = w.sub(it, seen, seenContent, "encryptedContent", nil)
		return err
	}
	var inner uint
	var data, signature, key string
	it.hasContent, err = w.sub(it, seen, seenContent, "encryptedContent", func(name string) error {
		switch name {
		case "data":
			return w.str(it, &inner, 1, "encryptedContent.data", &data)
		case "dataSignature":
			return w.str(it, &inner, 2, "encryptedContent.dataSignature", &signature)
		case "dataKey":
			return w.str(it, &inner, 4, "encryptedContent.dataKey", &key)
		case "encryptionCertificateId":
			return w.str(it, &inner, 8, "encryptedContent.encryptionCertificateId", &it.content.certificateID)
		case "encryptionCertificateThumbprint":
			return w.str(it, &inner, 16, "encryptedContent.encryptionCertificateThumbprint", &it.content.thumbprint)
		default:
			return w.dec.SkipValue()
		}
	})
	it.content.data, it.content.signature, it.content.key = data, signature, key
	return err
}

// spoil keeps the first thing that is wrong with the item.
func (it *rawItem) spoil(err *Error) {
	if it.err == nil {
		it.err = err
	}
}

// tenant is tenantId, or its undocumented duplicate organizationId where that is all there is.
func (it *rawItem) tenant() string {
	if it.tenantID != "" {
		return it.tenantID
	}
	return it.organizationID
}

// knownNames are the members that are read; it turns a name in the body into a constant.
var knownNames = func() map[string]string {
	m := make(map[string]string)
	for _, n := range []string{
		"value", "validationTokens",
		"clientState", "subscriptionId", "tenantId", "organizationId", "lifecycleEvent", "changeType",
		"encryptedContent", "resource", "subscriptionExpirationDateTime", "resourceData",
		"id", "@odata.id", "@odata.type", "availability", "activity", "sequenceNumber",
		"data", "dataSignature", "dataKey", "encryptionCertificateId", "encryptionCertificateThumbprint",
	} {
		m[n] = n
	}
	return m
}()

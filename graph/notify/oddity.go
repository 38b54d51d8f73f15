package notify

import "strings"

// Oddity is something in a body that deserves a count but refuses nothing.
type Oddity uint8

// The oddities.
const (
	OddityBOM              Oddity = iota // a byte order mark before the body or the plaintext
	OddityTrailingComma                  // a comma before } or ]
	OddityDuplicateValue                 // "value" more than once
	OddityTime                           // subscriptionExpirationDateTime cannot be read
	OddityChangeType                     // a changeType other than "updated"
	OddityBothKinds                      // changeType and lifecycleEvent in one item, which exclude each other
	OddityOrganizationOnly               // organizationId without tenantId
	OdditySecondKey                      // the certificate was found by thumbprint, not by id

	oddityCount
)

var oddityNames = [oddityCount]string{
	OddityBOM:              "bom",
	OddityTrailingComma:    "trailing_comma",
	OddityDuplicateValue:   "duplicate_value",
	OddityTime:             "time",
	OddityChangeType:       "change_type",
	OddityBothKinds:        "both_kinds",
	OddityOrganizationOnly: "organization_only",
	OdditySecondKey:        "second_key",
}

// String is the oddity in snake case: a metric label.
func (o Oddity) String() string {
	if o < oddityCount {
		return oddityNames[o]
	}
	return "unknown"
}

// OdditySet is a set of oddities.
type OdditySet uint16

func (s *OdditySet) add(o Oddity) { *s |= 1 << o }

// Has tells whether o is in the set.
func (s OdditySet) Has(o Oddity) bool { return s&(1<<o) != 0 }

// List returns the members in order.
func (s OdditySet) List() []Oddity {
	var l []Oddity
	for o := range oddityCount {
		if s.Has(o) {
			l = append(l, o)
		}
	}
	return l
}

// String lists the members, comma-separated.
func (s OdditySet) String() string {
	names := make([]string, 0, oddityCount)
	for _, o := range s.List() {
		names = append(names, o.String())
	}
	return strings.Join(names, ",")
}

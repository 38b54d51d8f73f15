package api

import "time"

// Resealed is the answer of POST /keys/reseal.
type Resealed struct {
	Key        string `json:"key"`        // id of the newest master key, which is not secret
	Values     int    `json:"values"`     // sealed values there are
	Resealed   int    `json:"resealed"`   // of them, those that were sealed again now
	Unreadable int    `json:"unreadable"` // of them, those that no key opens
}

// CertificateRotation is the answer of POST /accounts/{account}/certificate/rotate.
type CertificateRotation struct {
	CertificateID string `json:"certificate_id"`
	// Subscriptions are to be made anew with it, the last one at Until.
	Subscriptions int       `json:"subscriptions"`
	Until         time.Time `json:"until,omitzero"`
}

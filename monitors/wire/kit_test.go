package wire

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"
)

// template is a self-signed certificate's.
func template() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "another"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

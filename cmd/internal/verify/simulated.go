package verify

import (
	"crypto/x509"
	"os"

	"presencebridge/cmd/internal/config"
)

// simulatedRoots are the authorities that the simulators trust, beside roots: where every account's Graph is one, nobody
// else posts to public_url, and whoever set them up signs both sides with one authority. Nil where an account's Graph is
// Microsoft's, or no simulator has an authority of its own.
func simulatedRoots(cfg *config.Config, roots *x509.CertPool) *x509.CertPool {
	var pool *x509.CertPool
	for i := range cfg.Accounts {
		e := cfg.Accounts[i].Graph.Endpoints
		if e.Graph == "" {
			return nil
		}
		if e.CAFile == "" {
			continue
		}
		pem, err := os.ReadFile(e.CAFile)
		if err != nil {
			continue // the checks of the endpoints say so
		}
		if pool == nil {
			pool = extended(roots)
		}
		pool.AppendCertsFromPEM(pem)
	}
	return pool
}

// extended is a copy of roots, of the system's if nil, that may be added to.
func extended(roots *x509.CertPool) *x509.CertPool {
	if roots != nil {
		return roots.Clone()
	}
	if system, err := x509.SystemCertPool(); err == nil {
		return system
	}
	return x509.NewCertPool()
}

// trusted are the authorities that whoever posts to public_url trusts.
func (s *site) trusted() *x509.CertPool {
	if s.simulated != nil {
		return s.simulated
	}
	return s.opts.Roots
}

// trustedBySimulators tells whether a chain that the public authorities do not stand for is good for the simulators.
func (s *site) trustedBySimulators(chain []*x509.Certificate, host string) bool {
	return s.simulated != nil && verifyChain(chain, host, s.simulated, s.now) == nil
}

func onlySimulators(name string, c *x509.Certificate) []Check {
	return []Check{warning(name, "", "for a real tenant, use a certificate of a public authority, and put the intermediate certificates after it into the file",
		"%s is signed by the authority of endpoints.ca_file, which only simulators trust", describeCertificate(c))}
}

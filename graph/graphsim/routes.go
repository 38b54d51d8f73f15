package graphsim

import (
	"net/http"
	"strings"
)

// routes is the tenant's whole surface: login, Graph, and the control API. They have a multiplexer
// each, since a tenant's name may be any first segment.
func (s *Sim) routes() http.Handler {
	login, graph, control := http.NewServeMux(), http.NewServeMux(), http.NewServeMux()
	login.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.counted("token", s.login.serveToken))
	login.HandleFunc("POST /{tenant}/oauth2/v2.0/devicecode", s.counted("devicecode", s.login.serveDeviceCode))
	login.HandleFunc("GET /{tenant}/oauth2/v2.0/authorize", s.counted("authorize", s.login.serveAuthorize))
	login.HandleFunc("GET /devicelogin", s.login.serveDeviceLogin)
	login.HandleFunc("POST /devicelogin", s.login.serveDeviceLogin)
	login.HandleFunc("GET /{tenant}/discovery/keys", s.login.serveKeys)
	login.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.login.serveKeys)
	login.HandleFunc("GET /{tenant}/.well-known/openid-configuration", s.login.serveConfiguration("1.0"))
	login.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.login.serveConfiguration("2.0"))
	s.presenceRoutes(graph)
	s.directoryRoutes(graph)
	s.subscriptionRoutes(graph)
	graph.HandleFunc("/", s.unknown)
	s.controlRoutes(control)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.serving.RLock()
		defer s.serving.RUnlock()
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1.0/"):
			graph.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/sim/"):
			control.ServeHTTP(w, r)
		default:
			login.ServeHTTP(w, r)
		}
	})
}

// unknown answers a call of Graph that is not simulated.
func (s *Sim) unknown(w http.ResponseWriter, r *http.Request) {
	s.counts.request("unknown", http.StatusBadRequest)
	s.write(w, r, refuse(http.StatusBadRequest, "BadRequest", "Resource not found for the segment '"+r.URL.Path+"'."))
}

// counted counts requests to the login service, and has them fail with the servers of Graph.
func (s *Sim) counted(op string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.cruelty.requests.hit(s.cruelty.faults().ServerError) {
			s.counts.request(op, http.StatusServiceUnavailable)
			s.login.writeLoginError(w, aadsts(aadTemporarilyGone))
			return
		}
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		h(recorder, r)
		s.counts.request(op, recorder.status)
	}
}

// statusRecorder remembers the status that was sent.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

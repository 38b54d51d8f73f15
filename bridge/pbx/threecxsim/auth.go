package threecxsim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"presencebridge/bridge/pbx/simkit"
)

const maxBody = 1 << 20

// tokenRequest gives the client a token, and makes the one it had invalid.
func (s *Sim) tokenRequest(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseMultipartForm(maxBody); err != nil && r.PostForm == nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.limits.ForeignIP:
		answer(w, http.StatusForbidden, map[string]string{"error": "access_denied"})
	case r.PostFormValue("grant_type") != "client_credentials":
		answer(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
	case r.PostFormValue("client_id") != s.cfg.ClientID || r.PostFormValue("client_secret") != s.secret:
		s.stats.TokensRefused++
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_client"})
	default:
		token, err := s.newToken()
		if err != nil {
			answer(w, http.StatusInternalServerError, nil)
			return
		}
		answer(w, http.StatusOK, map[string]any{
			"token_type": "Bearer", "expires_in": s.expiresIn(), "access_token": token, "refresh_token": nil,
		})
	}
}

// expiresIn counts minutes before 20.0.9, seconds since.
func (s *Sim) expiresIn() int {
	parts := append(strings.Split(s.cfg.Version, "."), "0", "0", "0")
	major, _ := strconv.Atoi(parts[0])
	minor, _ := strconv.Atoi(parts[1])
	update, _ := strconv.Atoi(parts[2])
	if major > 20 || major == 20 && (minor > 0 || update >= 9) {
		return int(s.cfg.TokenLife / time.Second)
	}
	return int(s.cfg.TokenLife / time.Minute)
}

func (s *Sim) newToken() (string, error) {
	nonce := simkit.Secret(16)
	role := []string{"MyPhone", "Admin"}
	if !s.limits.NoEnterprise {
		role = append(role, "Enterprise")
	}
	claims, err := json.Marshal(map[string]any{
		"unique_name": s.cfg.ClientID, "role": role, "jti": nonce, "exp": time.Now().Add(s.cfg.TokenLife).Unix(), "iat": time.Now().Unix(),
	})
	if err != nil {
		return "", err
	}
	b64 := base64.RawURLEncoding.EncodeToString
	s.forgetToken()
	s.token, s.tokenAt = b64([]byte(`{"alg":"none","typ":"JWT"}`))+"."+b64(claims)+"."+b64([]byte(nonce)), time.Now()
	s.stats.Tokens++
	return s.token, nil
}

// admitted tells whether a request carries the valid token and may do what it does. The mutex is held.
func (s *Sim) admitted(w http.ResponseWriter, r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	callControl := strings.HasPrefix(r.URL.Path, "/callcontrol")
	switch {
	case s.limits.ForeignIP, s.limits.NoEnterprise, callControl && s.limits.NoCallControl, !callControl && s.limits.NoXAPI:
		answer(w, http.StatusForbidden, nil)
	case !ok || s.token == "" || given != s.token || time.Since(s.tokenAt) >= s.cfg.TokenLife:
		s.stats.Unauthorised++
		answer(w, http.StatusUnauthorized, nil)
	default:
		return true
	}
	return false
}

func answer(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; odata.metadata=minimal")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

// refuse is an error in OData's form.
func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": "", "message": message, "details": []any{}}})
}

package threecx

import (
	"errors"
	"fmt"
	"net/http"

	"presencebridge/bridge/pbx/link"
)

var (
	errSilent = errors.New("the WebSocket fell silent")
	errEnded  = errors.New("the WebSocket ended")
)

// explain puts an error into words for people. Nothing in them comes from the PBX or from a file.
func explain(err error) link.Problem {
	var se *statusError
	trouble, network := link.OfNetwork(err)
	switch {
	case errors.Is(err, errNoSecret):
		return needsPerson("secret_unreadable", "The API client's key cannot be read.",
			"Check that client_secret_file exists, that the bridge may read it, and that it holds the key and nothing else.")
	case errors.Is(err, errTooOld):
		return needsPerson("version_unsupported", "The PBX is older than version 20, and has no interface for presence.", "Update the PBX to version 20.")
	case errors.Is(err, errNotMonitored):
		return needsPerson("not_monitored", "The PBX tells the API client of nobody's calls.",
			"Put the extensions into the list that the API client may monitor (Integrations > API > the client > Call Control API).")
	case errors.Is(err, errSilent):
		return passing("silent", "The PBX's WebSocket fell silent.",
			"If it happens again and again, look for a proxy or firewall that holds back or forgets long connections.")
	case errors.As(err, &se):
		return se.explain()
	case errors.Is(err, errBadAnswer), errors.Is(err, errTooLong), errors.Is(err, errToken):
		return passing("bad_answer", "What answers at the PBX's address does not answer like a 3CX.", "Check that url is the address of the PBX, and that no proxy answers in its place.")
	case network && (trouble.Person || !errors.Is(err, errEnded)):
		return trouble
	case errors.Is(err, errEnded):
		return passing("connection_lost", "The PBX ended the WebSocket.", "")
	default:
		return passing("connection_lost", "The connection to the PBX broke.", "")
	}
}

func needsPerson(code, text, remedy string) link.Problem {
	return link.Problem{Code: code, Text: text, Remedy: remedy, Person: true}
}

func passing(code, text, remedy string) link.Problem {
	return link.Problem{Code: code, Text: text, Remedy: remedy}
}

func (e *statusError) explain() link.Problem {
	switch s := e.status; {
	case s == http.StatusForbidden:
		return e.forbidden()
	case s == http.StatusUnauthorized, s == http.StatusBadRequest && e.area == areaToken:
		return needsPerson("unauthorised", fmt.Sprintf("The PBX does not accept the API client's id and key (%d).", s),
			"Check client_id, and put a valid key into client_secret_file (Integrations > API > the client > a new key); it is read again by itself.")
	case s == http.StatusTooManyRequests:
		return passing("throttled", "The PBX asks to wait (429).", "")
	case s >= 300 && s < 400:
		return needsPerson("redirected", fmt.Sprintf("The PBX's address redirects elsewhere (%d).", s),
			"Put the address that it redirects to into url: a token is never sent after a redirect.")
	case s >= 500:
		return passing("server_error", fmt.Sprintf("The PBX answers with an error of its own (%d).", s), "If it lasts, look into the PBX's event log.")
	case s == http.StatusNotFound && e.area == areaCalls:
		return needsPerson("no_call_control", "The PBX has no Call Control API (404).", "Update the PBX to version 20, with a licence that includes the API.")
	default:
		return needsPerson("wrong_address", fmt.Sprintf("There is no 3CX at this address (%d).", s), "Check url: it is the address of the PBX's web client, with its port.")
	}
}

// forbidden tells the reasons apart that a 3CX answers alike.
func (e *statusError) forbidden() link.Problem {
	switch {
	case e.area == areaToken:
		return needsPerson("address_restricted", "The PBX does not let this machine ask for a token (403).",
			"Add the bridge's address to the allowed ones (Admin > Security > Console Restrictions).")
	case !e.licensed:
		return needsPerson("licence", "The PBX's licence does not include its APIs: the token's role says nothing of Enterprise (403).",
			"The APIs need a 3CX Enterprise licence (AI or ENT+) of 8 simultaneous calls or more.")
	case e.area == areaCalls:
		return needsPerson("no_call_control", "The API client may not use the Call Control API (403).",
			"Tick 3CX Call Control API Access for the API client (Integrations > API), and check that the licence includes it.")
	case e.area == areaWrite:
		return needsPerson("may_not_write", "The API client may not change people's status (403).",
			"Give the API client's role in its department the right to change presence (AllowToChangePresence).")
	default:
		return needsPerson("no_configuration_access", "The API client may not read the users (403).",
			"Tick 3CX Configuration API Access for the API client (Integrations > API), with a department and a role that see the users, and check the Console Restrictions.")
	}
}

package micollab

import (
	"errors"
	"fmt"
	"net/http"

	"presencebridge/bridge/pbx/link"
)

var (
	errSilent    = errors.New("the event stream fell silent")
	errEnded     = errors.New("the event stream ended")
	errNotStream = errors.New("the answer is no event stream")
)

// explain puts an error into words for people. Nothing in them comes from the PBX or from a file.
func explain(err error) link.Problem {
	var se *statusError
	trouble, network := link.OfNetwork(err)
	switch {
	case errors.Is(err, errNoToken):
		return needsPerson("token_unreadable", "The PBX's token cannot be read.",
			"Check that token_file exists, that the bridge may read it, and that it holds the token and nothing else.")
	case errors.Is(err, errSilent):
		return passing("silent", "The PBX's event stream fell silent.",
			"If it happens again and again, look for a proxy or firewall that holds back or forgets long connections.")
	case errors.Is(err, errNotStream):
		return needsPerson("not_an_event_stream", "The PBX's address answers, but not with an event stream.",
			"Check that url is the address of the endpoint, and that no proxy answers in its place.")
	case errors.As(err, &se):
		return explainStatus(se.status)
	case errors.Is(err, errBadAnswer), errors.Is(err, errTooLong):
		return passing("bad_answer", "The PBX's answers are not what the endpoint promises.",
			"Check that url is the address of the endpoint; if it is, its adapter is at fault (openapi.yaml describes what is expected).")
	case network && (trouble.Person || !errors.Is(err, errEnded)):
		return trouble
	case errors.Is(err, errEnded):
		return passing("connection_lost", "The PBX ended the event stream.", "")
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

func explainStatus(status int) link.Problem {
	switch {
	case status == http.StatusUnauthorized:
		return needsPerson("unauthorised", "The PBX does not accept the token (401).",
			"Put a valid token into token_file; it is read again by itself.")
	case status == http.StatusForbidden:
		return needsPerson("forbidden", "The PBX accepts the token but not what it is used for (403).",
			"Give the token's client the right to list users, to watch events and to set presence.")
	case status == http.StatusTooManyRequests:
		return passing("throttled", "The PBX asks to wait (429).", "")
	case status >= 300 && status < 400:
		return needsPerson("redirected", fmt.Sprintf("The PBX's address redirects elsewhere (%d).", status),
			"Put the address that it redirects to into url: a token is never sent after a redirect.")
	case status >= 500:
		return passing("server_error", fmt.Sprintf("The PBX answers with an error of its own (%d).", status), "If it lasts, look into the PBX's log.")
	default:
		return needsPerson("wrong_address", fmt.Sprintf("There is no such endpoint at the PBX's address (%d).", status),
			"Check url: it is the address of the endpoint without /v1.")
	}
}

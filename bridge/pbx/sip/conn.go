package sip

import (
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"presencebridge/bridge/pbx"
	"presencebridge/bridge/pbx/link"
)

// explain puts an error into words for people. Nothing in them comes from the PBX or from a file.
func explain(err error) link.Problem {
	var se *statusError
	trouble, network := link.OfNetwork(err)
	switch {
	case errors.Is(err, errPassword):
		return needsPerson("password_unreadable", "The password for the PBX cannot be read.", "Check that password_file exists, that the bridge may read it, and that it holds the password and nothing else.")
	case errors.Is(err, errChallenge):
		return needsPerson("authentication_unknown", "The PBX asks for an authentication that the bridge does not know.", "Let the PBX ask for digest authentication with MD5 or SHA-256.")
	case errors.As(err, &se):
		return explainStatus(se)
	case errors.Is(err, errNoNotice):
		return passing("no_notification", "The PBX accepts subscriptions but sends no notifications.", "Look for a firewall between the PBX and the bridge, or use tcp or tls in url: notifications then come on the bridge's own connection.")
	case errors.Is(err, errOldDocument):
		return passing("old_document", "A document of the bridge's from before still stands.", "It ends by itself with its lease.")
	case network:
		return trouble
	case errors.Is(err, errLost):
		return passing("connection_lost", "The connection to the PBX was lost.", "")
	case errors.Is(err, errSilent), errors.Is(err, sip.ErrTransactionTimeout):
		return passing("timed_out", "The PBX does not answer in time.",
			"Check host, port and transport in url, that the PBX is well, and that the network lets the bridge reach it.")
	default:
		return passing("connection_lost", "The connection to the PBX broke.", "")
	}
}

func explainStatus(e *statusError) link.Problem {
	switch {
	case e.code == sip.StatusUnauthorized, e.code == sip.StatusProxyAuthRequired:
		return needsPerson("unauthorised", fmt.Sprintf("The PBX does not accept user name and password (%d).", e.code), "Check username and domain, and put the valid password into password_file; it is read again by itself.")
	case e.code == sip.StatusForbidden || e.code == 603:
		return needsPerson("forbidden", fmt.Sprintf("The PBX knows the bridge's user but does not let it do this (%d).", e.code), "Give the user in username the right to subscribe to the presence and dialogs of the extensions, and to publish for them.")
	case e.code == sip.StatusNotFound || e.code == sip.StatusGone || e.code == 604:
		return needsPerson("no_such_extension", fmt.Sprintf("The PBX does not know the extensions (%d).", e.code), "Compare the addresses in users_file (or list_uri) and domain with those of the PBX.")
	case e.code == 489:
		return needsPerson("no_event_package", "The PBX has neither the dialog nor the presence event package (489).", "Switch BLF (dialog) or presence on in the PBX, or give url the address of its presence server.")
	case e.code == sip.StatusMethodNotAllowed || e.code == 501:
		return needsPerson("no_presence_server", fmt.Sprintf("What answers at url is no presence server (%d).", e.code), "Give url the address of the PBX's presence server, and switch on SUBSCRIBE and PUBLISH there.")
	case e.code == sip.StatusServiceUnavailable:
		return passing("throttled", "The PBX asks to wait (503).", "")
	case e.code >= 500:
		return passing("server_error", fmt.Sprintf("The PBX answers with an error of its own (%d).", e.code), "If it lasts, look into the PBX's log.")
	default:
		return needsPerson("refused", fmt.Sprintf("The PBX refuses what the bridge asks for (%d).", e.code), "Look into the PBX's log for the reason, and check url, domain and username.")
	}
}

func needsPerson(code, text, remedy string) link.Problem {
	return link.Problem{Code: code, Text: text, Remedy: remedy, Person: true}
}

func passing(code, text, remedy string) link.Problem {
	return link.Problem{Code: code, Text: text, Remedy: remedy}
}

// lacking warns that the PBX has only one of the two packages.
func lacking(event string) pbx.Warning {
	if event == eventDialog {
		return pbx.Warning{
			Code: "no_dialog_package", Text: "The PBX does not report calls (489 for the dialog event package): lines are told from its presence documents alone.",
			Remedy: "Switch BLF (the dialog event package) on in the PBX.",
		}
	}
	return pbx.Warning{
		Code: "no_presence_package", Text: "The PBX does not report presence (489 for the presence event package): what people choose there is not seen.",
		Remedy: "Switch presence on in the PBX.",
	}
}

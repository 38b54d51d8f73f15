package config

import (
	"fmt"
	"strings"

	"presencebridge/bridge/pbx/sip"
)

// typeSIP is the type of PBX whose address is no web address.
const typeSIP = "sip"

// sip checks the keys of a SIP PBX.
func (v *validator) sip(p *PBX, at string, urls seen) {
	v.sipURL(p, at+".url", urls)
	switch {
	case strings.HasPrefix(strings.ToLower(p.Username), "sip:"), strings.HasPrefix(strings.ToLower(p.Username), "sips:"),
		strings.ContainsAny(p.Username, "@:<>\" \t"):
		v.add(at+".username", fmt.Sprintf("%q is more than a user", clip(p.Username)), "write the user part alone, and its domain as domain")
	}
	if strings.ContainsAny(p.Domain, "@:;/<> ") {
		v.add(at+".domain", fmt.Sprintf("%q is no domain", clip(p.Domain)), "write it like pbx.example.com, without sip: and port")
	}
	if p.ListURI != "" && sip.CheckAddress(p.ListURI) != nil {
		v.add(at+".list_uri", fmt.Sprintf("%q is no address", clip(p.ListURI)), "write it like sip:everybody@pbx.example.com")
	}
	if p.UsersFile == "" && p.ListURI == "" {
		v.add(at+".users_file", "is missing", "name the file that lists the extensions (extension,uri,mail,name), or give list_uri: SIP has no directory to ask")
	}
}

func (v *validator) sipURL(p *PBX, path string, urls seen) {
	if p.URL == "" {
		v.add(path, "is missing", "give the address of the PBX's presence server, for example sip:pbx.example.com:5060;transport=tcp")
		return
	}
	server, err := sip.CheckURL(p.URL)
	if err != nil {
		v.add(path, err.Error(), "write it like sip:pbx.example.com:5060;transport=tcp, with udp, tcp or tls, or sips:pbx.example.com")
		return
	}
	if !server.TLS && !loopback(server.Host) {
		v.warn(path, "people's presence crosses the network in the clear", "use ;transport=tls where the PBX has it")
	}
	v.unique(urls, "sip "+server.Address, path, "is the same PBX as %s", "each PBX belongs to one account, once: two connectors would write over each other")
}

// users checks the list of extensions.
func (v *validator) users(p *PBX, path string) {
	if p.UsersFile == "" {
		return
	}
	text := v.read(path, p.UsersFile)
	if text == nil {
		return
	}
	users, err := sip.ParseUsers(p.UsersFile, p.Domain, text)
	switch {
	case err != nil:
		v.add(path, fmt.Sprintf("%s: %v", p.UsersFile, err), "")
	case len(users) == 0:
		v.warn(path, fmt.Sprintf("%s lists nobody", p.UsersFile), "write a line for each extension: extension,uri,mail,name")
	}
}

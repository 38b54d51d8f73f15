package directory

import (
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// numbers reads telephone numbers. Equal numbers are equal in E.164 form (ITU-T E.164), however they are written.
type numbers struct {
	region string // of numbers without a country code
	spare  phonenumbers.PhoneNumber
}

// shortest is how many digits a number needs at least to be taken for more than an extension.
const shortest = 7

// ofPerson are the forms of a number of Entra's: the whole number, with the extension's digits behind it where
// Entra keeps one ("+49 30 1234 x201"), and the extension alone.
func (n *numbers) ofPerson(s string) []string {
	s = strings.TrimSpace(s)
	if s == "" {
		return nil
	}
	e164, ext := n.parse(s)
	switch {
	case e164 != "" && ext != "":
		return []string{e164 + ext, "x" + ext}
	case e164 != "":
		return []string{e164}
	case ext != "":
		return []string{"x" + ext}
	case isDigits(s) && len(s) < shortest:
		return []string{"x" + s}
	}
	return nil
}

// ofPhone are the forms of a PBX's extension.
func (n *numbers) ofPhone(ext, prefix string) []string {
	ext = strings.TrimSpace(ext)
	switch {
	case ext == "":
		return nil
	case isDigits(ext) && len(ext) < shortest:
		if prefix == "" {
			return []string{"x" + ext}
		}
		if whole, _ := n.parse(prefix + ext); whole != "" {
			return []string{whole}
		}
		return nil
	}
	if whole, _ := n.parse(ext); whole != "" {
		return []string{whole}
	}
	return nil
}

// parse reads a number; "" for what is none.
func (n *numbers) parse(s string) (e164, ext string) {
	if n.region == "" && !strings.HasPrefix(strings.TrimSpace(s), "+") {
		return "", "" // nobody can tell the country
	}
	n.spare.Reset()
	if err := phonenumbers.ParseToNumber(s, n.region, &n.spare); err != nil {
		return "", ""
	}
	return phonenumbers.Format(&n.spare, phonenumbers.E164), n.spare.GetExtension()
}

func isDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// CheckNumber tells whether s can stand before extensions (Options.Prefixes): a whole number's beginning, with its
// country code.
func CheckNumber(s string) bool {
	digits, plus := strings.CutPrefix(s, "+")
	return plus && isDigits(digits)
}

// CheckRegion tells whether s is a region that numbers are known for.
func CheckRegion(s string) bool { return phonenumbers.GetSupportedRegions()[s] }

package cli

import (
	"fmt"
	"io"

	"presencebridge/bridge/console/client/api"
)

// showCoverage says how an account's members are covered, why some are not pushed, and what one monitor more would change.
func showCoverage(w io.Writer, a *api.Account) error {
	c := a.Coverage
	if c == nil {
		return nil
	}
	if _, err := fmt.Fprintf(w, "%s: %s\n", a.Name, c.Text); err != nil {
		return err
	}
	for _, r := range c.Reasons {
		if _, err := fmt.Fprintf(w, "%s: %d %s: %s\n", a.Name, r.Members, r.Coverage, r.Text); err != nil {
			return err
		}
	}
	return nil
}

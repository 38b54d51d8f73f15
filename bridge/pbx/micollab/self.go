package micollab

import (
	"strings"
	"sync"

	"presencebridge/bridge/pbx"
)

// apiPrefix is what changed_by begins with when a program chose the status.
const apiPrefix = "api:"

// selfName is the name of our own client at the PBX, "" until it is learnt.
type selfName struct {
	mu   sync.Mutex
	name string
}

func (s *selfName) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}

// author reads changed_by.
func (c *Client) author(changedBy string) pbx.Author {
	if strings.EqualFold(changedBy, "user") {
		return pbx.AuthorUser
	}
	name, ok := strings.CutPrefix(changedBy, apiPrefix)
	if !ok || name == "" {
		return pbx.AuthorUnknown
	}
	if own := c.self.get(); own == "" || own == name {
		return pbx.AuthorSelf
	}
	return pbx.AuthorOther
}

// learn takes our own client's name from the answer to a write of ours, if the answer proves that it was
// this write that changed the status: it expected a version (so nothing came in between), that version
// showed another status, and now a higher one shows ours. changed_by of any other answer may be
// somebody else's: a write that changes nothing, or the message only, leaves it alone.
func (c *Client) learn(before seen, after wirePresence, ifVersion uint64, wrote string) {
	name, ok := strings.CutPrefix(after.ChangedBy, apiPrefix)
	proof := ifVersion != 0 && before.version == ifVersion && before.status != wrote &&
		after.Status == wrote && after.version() > ifVersion
	if !ok || name == "" || !proof {
		return
	}
	c.self.mu.Lock()
	had := c.self.name
	c.self.name = name
	c.self.mu.Unlock()
	if had == name {
		return
	}
	c.cfg.Log.Info("learnt the name of our own client at the pbx", "client", name, "had", had)
	if c.cfg.LearntClient == nil {
		return
	}
	if err := c.cfg.LearntClient.Save(name); err != nil {
		// It is known until the next start, and learnt again then.
		c.cfg.Log.Warn("the name of our own client at the pbx was not saved", "error", err)
	}
}

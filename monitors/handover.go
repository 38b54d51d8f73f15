package monitors

// A subscription's list cannot be changed, and one monitor has room for one subscription. With a monitor to
// spare there is no gap all the same: the spare subscribes to the new list first (it is the heir), and the old
// subscription goes when that has succeeded. The old monitor is the next spare.

// handOver looks for a spare that takes over the shard of a monitor whose subscription has to be made
// anew, and tells whether there is one.
func (m *Manager) handOver(from *monitor) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known.Load() {
		return false
	}
	for _, heir := range m.active() {
		if heir != from && heir.free() {
			members := from.bequeath()
			if len(members) == 0 {
				return false
			}
			heir.inherit(from, members)
			for _, id := range members {
				m.lastPlan.place[id] = heir
			}
			m.version.Add(1)
			m.log.Info("a spare monitor takes over a shard", "from", from.id, "to", heir.id, "members", len(members))
			return true
		}
	}
	return false
}

// free tells whether the monitor is a working spare.
func (mo *monitor) free() bool {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	return mo.rec.State == StateAuthorized && mo.wantShard == "" && mo.rec.Subscription == nil && !mo.bequeathed && !mo.doomed && !mo.lent && mo.failures == 0
}

// bequeath gives the monitor's list away. Its subscription stays until released.
func (mo *monitor) bequeath() []string {
	mo.mu.Lock()
	defer mo.mu.Unlock()
	members := mo.want
	if len(members) > 0 {
		mo.want, mo.bequeathed = nil, true
		mo.compare(mo.changedAt)
	}
	return members
}

// inherit takes a shard over.
func (mo *monitor) inherit(from *monitor, members []string) {
	from.mu.Lock()
	shardID := from.wantShard
	from.wantShard = ""
	from.mu.Unlock()
	mo.mu.Lock()
	defer mo.mu.Unlock()
	mo.want, mo.wantShard, mo.testator = members, shardID, from
	mo.wake()
}

// settleEstate lets the monitor go whose shard this one has taken over.
func (mo *monitor) settleEstate() {
	mo.mu.Lock()
	from := mo.testator
	mo.testator = nil
	mo.mu.Unlock()
	if from == nil {
		return
	}
	from.mu.Lock()
	from.bequeathed = false
	from.mu.Unlock()
	from.wake()
}

package verify

// checkGroups says whether the groups that policy names can be read: their members are what rules and opt-outs go by.
func checkGroups(t *tenant) []Check {
	const name = "group"
	if t.policyErr != nil || t.policy == nil || len(t.policy.GroupNames()) == 0 {
		return nil
	}
	if t.people == nil {
		return []Check{skipped(name, "", "there is no app token to read groups with")}
	}
	wrong := map[string]bool{}
	var out []Check
	for _, p := range t.people.Problems() {
		wrong[p.Group] = true
		out = append(out, failed(name, p.Group, p.Remedy, "%s", p.Text))
	}
	size := map[string]int{}
	for _, in := range t.people.Groups() {
		for _, g := range in {
			size[g]++
		}
	}
	for _, g := range t.policy.GroupNames() {
		if !wrong[g] {
			out = append(out, ok(name, g, "%d people are in it", size[g]))
		}
	}
	return out
}

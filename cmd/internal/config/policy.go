package config

import "presencebridge/bridge/policy"

// ParsePolicy is the account's policy: as configured, or the presets of the types of its PBXs.
func (a *Account) ParsePolicy() (*policy.Policy, error) {
	if len(a.Policy.YAML) > 0 {
		return policy.Parse(a.Policy.YAML)
	}
	types := make(map[string]string, len(a.PBX))
	for i := range a.PBX {
		types[a.PBX[i].Name] = a.PBX[i].Type
	}
	return policy.Default(types), nil
}

package graphsim

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// durations are the keys of Faults that are times.
func durations() []string {
	return []string{"late_by", "retry_after", "slow_by", "land_within", "write_lag", "read_lag"}
}

// plainFaults has no methods, so that its JSON is the usual one.
type plainFaults Faults

// MarshalJSON writes times as "2s".
func (f Faults) MarshalJSON() ([]byte, error) {
	raw, err := json.Marshal(plainFaults(f))
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for _, key := range durations() {
		ns, _ := fields[key].(float64)
		fields[key] = time.Duration(ns).String()
	}
	return json.Marshal(fields)
}

// UnmarshalJSON reads times as "2s", keeps what is not mentioned, and refuses unknown keys and
// shares that are none.
func (f *Faults) UnmarshalJSON(raw []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	known := map[string]bool{}
	have, err := json.Marshal(plainFaults(*f))
	if err != nil {
		return err
	}
	var present map[string]json.RawMessage
	if err := json.Unmarshal(have, &present); err != nil {
		return err
	}
	for key := range present {
		known[key] = true
	}
	for key, value := range fields {
		if !known[key] {
			return fmt.Errorf("faults: unknown key %q", key)
		}
		if slices.Contains(durations(), key) {
			if present[key], err = readDuration(key, value); err != nil {
				return err
			}
			continue
		}
		var share float64
		if err := json.Unmarshal(value, &share); err != nil || share < 0 || (share > 1 && key != "silent_death") {
			return fmt.Errorf("faults: %s is %s: give a share from 0 to 1", key, value)
		}
		present[key] = value
	}
	merged, err := json.Marshal(present)
	if err != nil {
		return err
	}
	return json.Unmarshal(merged, (*plainFaults)(f))
}

// readDuration turns "2s" into the number that the plain form has.
func readDuration(key string, value json.RawMessage) (json.RawMessage, error) {
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, fmt.Errorf("faults: %s is %s: give a time as \"2s\"", key, value)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return nil, fmt.Errorf("faults: %s is %q: give a time as \"2s\"", key, text)
	}
	return json.Marshal(int64(d))
}

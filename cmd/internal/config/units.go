package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// Sync is when stored messages are forced to the disk: 0 for always, otherwise an interval.
type Sync time.Duration

// SyncAlways forces each message to the disk before it is acknowledged.
const SyncAlways Sync = 0

// String writes the word or the interval.
func (s Sync) String() string {
	if s == SyncAlways {
		return "always"
	}
	return time.Duration(s).String()
}

// String writes the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if u.binary && s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

type sizeUnit struct {
	name   string
	bytes  int64
	binary bool
}

// sizeUnits are the units of sizes, longest names first, so that a suffix is found whole.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"PiB", 1 << 50, true}, {"TiB", 1 << 40, true}, {"GiB", 1 << 30, true},
		{"MiB", 1 << 20, true}, {"KiB", 1 << 10, true},
		{"PB", 1e15, false}, {"TB", 1e12, false}, {"GB", 1e9, false}, {"MB", 1e6, false}, {"KB", 1e3, false}, {"kB", 1e3, false},
		{"B", 1, true},
	}
}

var (
	errDuration = errors.New("is not a duration; write a number with its unit, for example 90s, 5m, 24h or 7d")
	errSize     = errors.New("is not a size; write a number with its unit, for example 512KiB, 8MiB or 8GiB")
	errSync     = errors.New("is neither always nor a duration; write always, or an interval such as 200ms")
)

// parseDuration reads Go's durations and, beyond them, days. Zero needs no unit, anything else does.
func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errDuration
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, errDuration
	}
	return d, nil
}

// parseSize reads a size. Zero needs no unit, anything else does.
func parseSize(text string) (Size, error) {
	if text == "0" {
		return 0, nil
	}
	for _, u := range sizeUnits() {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		return scaleSize(strings.TrimSpace(number), u.bytes)
	}
	return 0, errSize
}

func scaleSize(number string, unit int64) (Size, error) {
	for _, r := range number {
		if (r < '0' || r > '9') && r != '.' {
			return 0, errSize // no signs, exponents, hexadecimals or underscores
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, errSize
	}
	bytes := n * float64(unit)
	if bytes >= math.MaxInt64 {
		return 0, fmt.Errorf("is too large a size")
	}
	return Size(math.Round(bytes)), nil
}

func parseSync(text string) (Sync, error) {
	if text == "always" {
		return SyncAlways, nil
	}
	d, err := parseDuration(text)
	if err != nil || d <= 0 {
		return 0, errSync
	}
	return Sync(d), nil
}

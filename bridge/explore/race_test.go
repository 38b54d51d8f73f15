//go:build race

package explore

// The exploration has one goroutine: the race detector finds nothing in it, and makes it ten times as slow.
const raced = true

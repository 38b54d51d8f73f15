//go:build race

package scenario

// Timers of a bubble that are due at once run in the goroutine that sets them, and under the race detector several at a time
// break it (golang.org/issue/78156): the runtime crashes. SIP sets such a timer for every transaction, so its stories are
// played without the race detector, which watches SIP in the tests of its own package; the others are played on one
// processor, where no two timers run at a time.
const raced = true

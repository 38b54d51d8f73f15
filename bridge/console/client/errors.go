package client

import (
	"errors"
	"fmt"
	"net/http"

	"presencebridge/bridge/console/client/api"
)

// Error is what the bridge answered instead of what was asked for.
type Error struct{ api.Problem }

func (e *Error) Error() string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "the bridge does not accept the token: it is the content of admin-token in its data_dir"
	case e.Status >= http.StatusInternalServerError && e.RequestID != "":
		return fmt.Sprintf("%s (request %s)", e.text(), e.RequestID)
	default:
		return e.text()
	}
}

func (e *Error) text() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Title
}

// IsNotFound tells whether what was asked for does not exist.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// IsUnavailable tells whether the same may work later.
func IsUnavailable(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusServiceUnavailable
}

// RunningJob returns the id of the job that a resync was refused for.
func RunningJob(err error) (id string, ok bool) {
	var e *Error
	if errors.As(err, &e) && e.Type == api.ProblemJobRunning {
		return e.Job, true
	}
	return "", false
}

// ReachError says that there was no usable answer.
type ReachError struct {
	Address string
	Final   bool // trying again cannot help
	Err     error
}

func (e *ReachError) Error() string {
	if e.Final {
		return fmt.Sprintf("cannot talk to the bridge at %s: %v", e.Address, e.Err)
	}
	return fmt.Sprintf("cannot reach the bridge at %s: %v (is it running, and is this the address of its admin listener?)", e.Address, e.Err)
}

func (e *ReachError) Unwrap() error { return e.Err }

// Candidates are the keys that an error of the bridge proposes instead of the one that was asked for.
func Candidates(err error) []string {
	var e *Error
	if errors.As(err, &e) {
		return e.Candidates
	}
	return nil
}

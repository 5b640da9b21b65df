// Package fault is the one error vocabulary of Holdfast: what went wrong (Kind), which case of it (a stable machine
// code), a sentence for people, and whether the operation may have been executed all the same.
//
// The last point is what distributed code needs most and usually lacks. "Sold out" is an answer; "no answer" is not:
// the stock may or may not have been taken. Flows decide by [Ambiguous], never by reading an error's text.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Kind groups faults by what a caller can do about them. It decides the HTTP status, in pkg/web alone.
type Kind string

// The kinds, from the caller's fault to ours.
const (
	Invalid         Kind = "invalid"         // the request is malformed; sending it again cannot help
	TooLarge        Kind = "too_large"       // the request body is larger than allowed
	Unauthenticated Kind = "unauthenticated" // the caller is not identified
	Forbidden       Kind = "forbidden"       // the caller may not do this
	NotFound        Kind = "not_found"       // the object does not exist, or belongs to another user
	Conflict        Kind = "conflict"        // the state of the object forbids it, sold out included
	Mismatch        Kind = "mismatch"        // the same key was used before with another payload
	Closed          Kind = "closed"          // the order was released; it can never be reserved again
	Limited         Kind = "limited"         // too many requests
	Contended       Kind = "contended"       // lost too many races; not executed, retry
	Unavailable     Kind = "unavailable"     // a dependency is down
	Timeout         Kind = "timeout"         // a deadline passed
	Internal        Kind = "internal"        // a bug or an unknown error; opaque to callers
)

// Error is a fault. Construct sentinels with [New] and derive from them with the With methods, which copy.
type Error struct {
	Kind      Kind
	Code      string         // stable and machine-readable, snake_case; two faults with one code are the same fault
	Text      string         // for people, a sentence without a full stop
	Details   map[string]any // optional facts that a program may want, JSON-encodable
	Ambiguous bool           // true: the operation may have been executed
	cause     error          // for our logs; never crosses the wire
}

// New makes a fault. Timeout, Unavailable and Internal faults are ambiguous unless [Error.NotExecuted] says otherwise.
func New(kind Kind, code, text string) *Error {
	ambiguous := kind == Timeout || kind == Unavailable || kind == Internal
	return &Error{Kind: kind, Code: code, Text: text, Ambiguous: ambiguous}
}

// Error implements error: code, text and, when there is one, the cause.
func (e *Error) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Text, e.cause)
	}
	return e.Code + ": " + e.Text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes two faults with the same code equal for errors.Is, so that a fault rebuilt from an HTTP answer matches the
// sentinel in the domain package.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// With returns a copy with the detail added.
func (e *Error) With(key string, value any) *Error {
	c := *e
	c.Details = make(map[string]any, len(e.Details)+1)
	for k, v := range e.Details {
		c.Details[k] = v
	}
	c.Details[key] = value
	return &c
}

// WithText returns a copy that says something more exact.
func (e *Error) WithText(format string, args ...any) *Error {
	c := *e
	c.Text = fmt.Sprintf(format, args...)
	return &c
}

// Wrap returns a copy with a cause, which errors.Is and errors.As then see.
func (e *Error) Wrap(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// NotExecuted returns a copy that promises the operation was not executed.
func (e *Error) NotExecuted() *Error {
	c := *e
	c.Ambiguous = false
	return &c
}

// MaybeExecuted returns a copy that warns that the operation may have been executed.
func (e *Error) MaybeExecuted() *Error {
	c := *e
	c.Ambiguous = true
	return &c
}

// The faults that belong to no domain.
var (
	ErrInternal = New(Internal, "internal", "something went wrong on our side")
	ErrTimeout  = New(Timeout, "timeout", "the deadline passed before the answer came")
	ErrCanceled = New(Timeout, "canceled", "the caller gave up before the answer came")
)

// From turns any error into a fault: a fault in the chain is returned as it is, a context error becomes [ErrTimeout]
// or [ErrCanceled], everything else an opaque [ErrInternal] that wraps it. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout.Wrap(err)
	case errors.Is(err, context.Canceled):
		return ErrCanceled.Wrap(err)
	}
	return ErrInternal.Wrap(err)
}

// Ambiguous reports whether the failed operation may have been executed. An error that is no fault is ambiguous.
func Ambiguous(err error) bool {
	return err != nil && From(err).Ambiguous
}

// KindOf returns the kind of From(err), or "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	return From(err).Kind
}

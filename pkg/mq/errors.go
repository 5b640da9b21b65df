package mq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	rmqerrors "github.com/apache/rocketmq-client-go/v2/errors"

	"holdfast/pkg/fault"
)

// The faults of this package.
var (
	// ErrUnavailable: the broker could not be reached or refused. It is ambiguous unless the message surely was not sent.
	ErrUnavailable = fault.New(fault.Unavailable, "broker_unavailable", "the message broker is not available")
	// ErrTimeout: the caller's deadline passed first. It is ambiguous unless the message surely was not sent.
	ErrTimeout = fault.New(fault.Timeout, "broker_timeout", "the message broker did not answer in time")
	// ErrInvalidMessage: the message cannot be sent as it is, now or later. Nothing was sent.
	ErrInvalidMessage = fault.New(fault.Invalid, "invalid_message", "the message cannot be sent")
)

// errNotStored is an answer that the client library does not count as an error: the broker has the message, but not as
// safely as it is configured to keep it.
var errNotStored = errors.New("the broker has not stored the message safely")

// Response codes of the broker with which it promises that it did nothing.
const (
	codeBusy           = 2
	codeIllegal        = 13
	codeNotAvailable   = 14
	codeNoPermission   = 16
	codeSystemError    = 1
	codeTopicNotExists = 17
	codeNoOffset       = 22
)

// responseCode finds the broker's answer in an error. The library has it only as text.
func responseCode(err error) (code int, ok bool) {
	_, scanErr := fmt.Sscanf(err.Error(), "CODE: %d", &code)
	return code, scanErr == nil
}

// surelyNotSent reports whether a failed send cannot have stored anything. Everything else is ambiguous: a lost answer
// looks like a lost request.
func surelyNotSent(err error) bool {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return !f.Ambiguous
	}
	if code, ok := responseCode(err); ok {
		switch code {
		case codeBusy, codeIllegal, codeNotAvailable, codeNoPermission, codeTopicNotExists:
			return true
		}
		return false
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	if errors.Is(err, rmqerrors.ErrNotRunning) || errors.Is(err, rmqerrors.ErrService) {
		return true
	}
	return strings.Contains(err.Error(), "route info not found") // the library has no sentinel for it
}

// pointless reports whether sending again cannot help.
func pointless(err error) bool {
	code, ok := responseCode(err)
	return ok && code == codeIllegal
}

// sendFault turns the last error of a send into a fault. maybe tells whether any try may have stored the message.
func sendFault(ctx context.Context, err error, maybe bool) error {
	f := ErrUnavailable
	switch {
	case pointless(err):
		f = ErrInvalidMessage
	case ctx.Err() != nil || errors.Is(err, ErrTimeout):
		f = ErrTimeout
	}
	if maybe {
		return f.MaybeExecuted().Wrap(err)
	}
	return f.NotExecuted().Wrap(err)
}

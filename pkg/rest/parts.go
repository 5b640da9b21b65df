package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/pkg/fault"
	"holdfast/pkg/wire"
)

// Parts is a call with parts that are executed on their own: what the request says about one of them, and the answer
// to it, does not concern the others. The methods are called one after the other.
type Parts interface {
	// Request returns the body with the parts that have no answer, for the next address.
	Request() any
	// Line takes a line of the answer, without its end, which is valid until Line returns. A part that the replica has not
	// executed, as it is unavailable, may be left for the next address. An error says that the line is no answer.
	Line(line []byte) error
	// Ended ends an attempt that reached the replica. Of the parts in its request, those without a line are lost with err,
	// a fault. It returns the fault of the parts that are left for the next address, and nil if there are none.
	Ended(err error) error
}

// maxLine bounds a line of an answer, in bytes. The largest real one is an order of 100 lines.
const maxLine = 1 << 20

// errMissing is an answer that ended without a line for each part.
var errMissing = errors.New("the answer lacks lines")

// DoParts calls the service for the parts. A 2xx answer has a line for each part, and the lines come as the parts are
// decided. What Do does for a call is done for each part: the parts that were certainly not executed go to the next
// address. The error is a fault as Do returns it, and concerns the parts that are left.
func (c *Client) DoParts(ctx context.Context, method, path string, p Parts) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.everywhere(ctx, func(a *address) (sent bool, err error) {
		body, err := wire.Marshal(p.Request())
		if err != nil {
			return false, fault.ErrInternal.NotExecuted().Wrap(fmt.Errorf("encode the request %s %s: %w", method, path, err))
		}
		res, sent, err := c.send(ctx, a, method, path, body)
		if err != nil {
			if sent {
				return true, p.Ended(c.toFault(err, true))
			}
			return false, err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode < 200 || res.StatusCode > 299 {
			err := c.credentialRefused(readAnswer(res, nil))
			if _, refused := errors.AsType[*fault.Error](err); refused {
				return true, err // the call, and none of its parts
			}
			return true, p.Ended(c.toFault(err, true))
		}
		return true, p.Ended(c.toFault(readLines(res.Body, p), true))
	})
}

// readLines passes on the lines of an answer.
func readLines(r io.Reader, p Parts) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if err := p.Line(lines.Bytes()); err != nil {
			return fmt.Errorf("read a line of the answer: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return errMissing // of a part that has none
}

package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"holdfast/pkg/fault"
)

func TestError_Is_comparesCodes(t *testing.T) {
	t.Parallel()
	sold := fault.New(fault.Conflict, "out_of_stock", "not enough stock")
	rebuilt := fault.New(fault.Conflict, "out_of_stock", "another text").With("sku", "A")
	if !errors.Is(fmt.Errorf("reserve: %w", rebuilt), sold) {
		t.Error("a fault with the same code is not the same fault")
	}
	if errors.Is(rebuilt, fault.New(fault.Conflict, "closed", "")) {
		t.Error("faults with different codes are equal")
	}
}

func TestNew_ambiguity(t *testing.T) {
	t.Parallel()
	for kind, want := range map[fault.Kind]bool{
		fault.Invalid: false, fault.TooLarge: false, fault.Unauthenticated: false, fault.Forbidden: false,
		fault.NotFound: false, fault.Conflict: false, fault.Mismatch: false, fault.Closed: false,
		fault.Limited: false, fault.Contended: false,
		fault.Unavailable: true, fault.Timeout: true, fault.Internal: true,
	} {
		if got := fault.Ambiguous(fault.New(kind, "x", "x")); got != want {
			t.Errorf("Ambiguous(%s) = %v, want %v", kind, got, want)
		}
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	known := fault.New(fault.NotFound, "unknown_sku", "no such product")
	boom := errors.New("boom")
	tests := []struct {
		name string
		err  error
		want error
		kind fault.Kind
	}{
		{"fault in the chain", fmt.Errorf("a: %w", known), known, fault.NotFound},
		{"deadline", fmt.Errorf("a: %w", context.DeadlineExceeded), fault.ErrTimeout, fault.Timeout},
		{"cancelled", context.Canceled, fault.ErrCanceled, fault.Timeout},
		{"unknown", boom, fault.ErrInternal, fault.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := fault.From(tt.err)
			if !errors.Is(got, tt.want) || got.Kind != tt.kind {
				t.Errorf("From = %v (%s), want %v (%s)", got, got.Kind, tt.want, tt.kind)
			}
		})
	}
	if fault.From(nil) != nil || fault.Ambiguous(nil) || fault.KindOf(nil) != "" {
		t.Error("nil is not a fault")
	}
	if !errors.Is(fault.From(boom), boom) {
		t.Error("the cause was lost")
	}
	if !fault.Ambiguous(boom) {
		t.Error("an unknown error must be ambiguous")
	}
}

func TestError_With_copies(t *testing.T) {
	t.Parallel()
	base := fault.New(fault.Unavailable, "broker_unavailable", "the broker is down")
	derived := base.With("topic", "t").With("try", 2).WithText("no route to %s", "t").NotExecuted().Wrap(context.Canceled)
	if len(base.Details) != 0 || base.Text != "the broker is down" || !base.Ambiguous || base.Unwrap() != nil {
		t.Errorf("the sentinel was changed: %+v", base)
	}
	if len(derived.Details) != 2 || derived.Ambiguous || !errors.Is(derived, context.Canceled) {
		t.Errorf("the copy lacks something: %+v", derived)
	}
	if !derived.MaybeExecuted().Ambiguous {
		t.Error("MaybeExecuted must mark the copy ambiguous")
	}
	if got, want := derived.Error(), "broker_unavailable: no route to t: context canceled"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

package check

import (
	"fmt"
	"time"
)

// Healing says what a backstop did for an order. It is no finding: an order that had to be healed is a healthy order.
type Healing struct {
	OrderNo string    `json:"order_no"`
	Healer  string    `json:"healer"` // check-back, sweeper, reconciler, relay
	Deed    string    `json:"deed"`
	At      time.Time `json:"at"`
}

// String is the healing on one line.
func (h Healing) String() string { return fmt.Sprintf("the %s %s %s", h.Healer, h.Deed, h.OrderNo) }

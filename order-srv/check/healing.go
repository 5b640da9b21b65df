package check

import (
	"fmt"
	"time"
)

// Healing is an action of a backstop for an order. It is no finding: a healed order is a correct order.
type Healing struct {
	OrderNo string    `json:"order_no"`
	Healer  string    `json:"healer"` // check-back, sweeper, reconciler, relay, coordinator, notifier
	Action  string    `json:"action"`
	At      time.Time `json:"at"`
}

// String returns the healing on one line.
func (h Healing) String() string { return fmt.Sprintf("the %s %s %s", h.Healer, h.Action, h.OrderNo) }

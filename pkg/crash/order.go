package crash

// The points of order-srv.
const (
	OrderPending   Point = "order-srv@pending"
	OrderHalfSent  Point = "order-srv@half-sent"
	OrderQueued    Point = "order-srv@queued"
	OrderReserved  Point = "order-srv@reserved"
	OrderRejected  Point = "order-srv@rejected"
	OrderPlaced    Point = "order-srv@placed"
	OrderAbandoned Point = "order-srv@abandoned"
	OrderPublished Point = "order-srv@published"
	OrderExpired   Point = "order-srv@expired"

	// Of the flow tcc.
	OrderStockTried Point = "order-srv@stock-tried"
	OrderFrozen     Point = "order-srv@frozen"
	OrderConfirming Point = "order-srv@confirming"
	OrderCancelling Point = "order-srv@cancelling"
	OrderPhaseDone  Point = "order-srv@phase-done"

	// Of the flow xa.
	OrderXAPreparedInventory  Point = "order-srv@xa-prepared-inventory"
	OrderXAPreparedBoth       Point = "order-srv@xa-prepared-both"
	OrderXADecided            Point = "order-srv@xa-decided"
	OrderXACommittedInventory Point = "order-srv@xa-committed-inventory"
	// Of notifications.
	OrderNotifying Point = "order-srv@notifying"
	OrderNotified  Point = "order-srv@notified"
)

func orderPoints() []Info {
	return []Info{
		{
			Point: OrderPending, Dies: "the order is PENDING, the half message is not sent",
			Ends: "ABANDONED; nothing was reserved, the tombstone keeps it so", Healer: "the sweeper", Try: "--sku MUG-CLASSIC",
		},
		{
			Point: OrderHalfSent, Dies: "the half message is sent, inventory is not asked yet",
			Ends: "ABANDONED; nothing was reserved, the tombstone keeps it so", Healer: "the check-back", Try: "--sku MUG-CLASSIC",
		},
		{
			Point: OrderQueued, Dies: "the message about a queued order is sent, the buyer is not answered",
			Ends: "PLACED; its message waited for a worker", Healer: "the broker, which delivers the message to another worker", Try: "--sku MUG-CLASSIC --flow queue",
		},
		{
			Point: OrderReserved, Dies: "inventory has reserved the units, the order is not PLACED yet",
			Ends: "ABANDONED; the units are given back", Healer: "the check-back", Try: "--sku MUG-CLASSIC",
		},
		{
			Point: OrderRejected, Dies: "the order is REJECTED, the half message is not rolled back",
			Ends: "REJECTED, as it was", Healer: "the check-back", Try: "--sku MUG-CLASSIC --quantity 5000",
		},
		{
			Point: OrderPlaced, Dies: "the order is PLACED, the half message is not rolled back and the buyer not answered",
			Ends: "PLACED, as it was", Healer: "the check-back", Try: "--sku MUG-CLASSIC",
		},
		{
			Point: OrderAbandoned, Dies: "the check-back has made the order ABANDONED and has not answered the broker",
			Ends: "ABANDONED; the units are given back", Healer: "the check-back", Try: "--sku MUG-CLASSIC",
			Also: InventoryCommitted, // an order whose fate is open is what a check-back decides
		},
		{
			Point: OrderPublished, Dies: "the relay has sent a message of the outbox and has not marked it as sent",
			Ends: "PLACED, as it was; the message is sent twice", Healer: "the relay", Try: "--sku MUG-CLASSIC",
		},
		{
			Point: OrderExpired, Dies: "the delayed message has made the order EXPIRED and is not acknowledged",
			Ends: "EXPIRED; the units are given back once", Healer: "the broker, which delivers the message again", Try: "--sku MUG-CLASSIC",
			Env: shortPatience(),
		},
		{
			Point: OrderStockTried, Dies: "an order of the flow tcc has its units, the wallet is not asked yet",
			Ends: "ABANDONED; the units are given back, the wallet has a tombstone", Healer: "the sweeper", Try: "--sku MUG-CLASSIC --flow tcc",
		},
		{
			Point: OrderFrozen, Dies: "an order of the flow tcc has its units and its money, and is not PLACED yet",
			Ends: "ABANDONED; the units and the money are given back", Healer: "the sweeper", Try: "--sku MUG-CLASSIC --flow tcc",
		},
		{
			Point: OrderConfirming, Dies: "an order of the flow tcc is PAID, the wallet is not told to pay yet",
			Ends: "PAID; the money is paid once", Healer: "the coordinator", Try: "--sku MUG-CLASSIC --flow tcc --pay",
		},
		{
			Point: OrderPhaseDone, Dies: "the wallet has paid for an order of the flow tcc, the log does not say so yet",
			Ends: "PAID; the money is paid once, the confirmation is sent twice", Healer: "the coordinator", Try: "--sku MUG-CLASSIC --flow tcc --pay",
		},
		{
			Point: OrderCancelling, Dies: "an order of the flow tcc has EXPIRED, the wallet is not told to return the money yet",
			Ends: "EXPIRED; the money is returned once", Healer: "the coordinator", Try: "--sku MUG-CLASSIC --flow tcc",
			Env: shortPatience(),
		},
	}
}

// notifyPoints are those of notifications.
func notifyPoints() []Info {
	return []Info{
		{
			Point: OrderNotifying, Dies: "the notification of a paid order is claimed, the receiver is not called yet",
			Ends: "PAID; the buyer is notified once", Healer: "the notifier", Try: "--sku MUG-CLASSIC --pay",
		},
		{
			Point: OrderNotified, Dies: "the receiver has answered the notification of a paid order, the row does not say so yet",
			Ends: "PAID; the buyer is notified twice, with the same event id", Healer: "the notifier", Try: "--sku MUG-CLASSIC --pay",
		},
	}
}

// xaPoints are those of the flow xa.
func xaPoints() []Info {
	return []Info{
		{
			Point: OrderXAPreparedInventory, Dies: "inventory's branch of an order of the flow xa is prepared, that of orders is not",
			Ends: "ABANDONED; the branch is rolled back, its rows are locked until then", Healer: "the recovery of xa", Try: "--sku MUG-CLASSIC --flow xa",
		},
		{
			Point: OrderXAPreparedBoth, Dies: "both branches of an order of the flow xa are prepared, nothing is decided",
			Ends: "ABANDONED; both are rolled back, their rows are locked until then", Healer: "the recovery of xa", Try: "--sku MUG-CLASSIC --flow xa",
		},
		{
			Point: OrderXADecided, Dies: "an order of the flow xa is decided, neither branch is committed",
			Ends: "PLACED; both are committed", Healer: "the recovery of xa", Try: "--sku MUG-CLASSIC --flow xa",
		},
		{
			Point: OrderXACommittedInventory, Dies: "inventory's branch of an order of the flow xa is committed, that of orders is not",
			Ends: "PLACED; the branch of orders is committed", Healer: "the recovery of xa", Try: "--sku MUG-CLASSIC --flow xa",
		},
	}
}

// shortPatience lets an order expire within the time of a demonstration.
func shortPatience() map[string]string { return map[string]string{"PAYMENT_TIMEOUT": "10s"} }

package crash

// The points of inventory-srv.
const (
	InventoryDeducted  Point = "inventory-srv@deducted"
	InventoryCommitted Point = "inventory-srv@committed"
	InventoryAnswered  Point = "inventory-srv@answered"
	InventoryPublished Point = "inventory-srv@published"
	InventoryConfirmed Point = "inventory-srv@confirmed"
	InventoryReleased  Point = "inventory-srv@released"

	// Of the flow xa.
	InventoryBranchPrepared  Point = "inventory-srv@branch-prepared"
	InventoryBranchCommitted Point = "inventory-srv@branch-committed"
)

func inventoryPoints() []Info {
	return []Info{
		{
			Point: InventoryDeducted, Dies: "the stock row is changed and locked, the transaction is not committed",
			Ends: "ABANDONED unless inventory is back at once; nothing stays reserved", Healer: "the check-back", Try: "--sku MUG-CLASSIC",
		},
		{
			Point: InventoryCommitted, Dies: "the units are reserved, order-srv has no answer",
			Ends: "ABANDONED unless inventory is back at once; the units are given back", Healer: "the check-back", Try: "--sku MUG-CLASSIC",
		},
		{
			Point: InventoryAnswered, Dies: "an order of the flow outbox is reserved and its answer is in the outbox, the command is not acknowledged",
			Ends: "PLACED; reserved and answered once, the command comes twice", Healer: "the broker, which delivers the command again",
			Try: "--sku MUG-CLASSIC --flow outbox",
		},
		{
			Point: InventoryPublished, Dies: "the relay has sent an answer of the outbox and has not marked it as sent",
			Ends: "PLACED; the answer is sent twice", Healer: "inventory-srv's relay", Try: "--sku MUG-CLASSIC --flow outbox",
		},
		{
			Point: InventoryConfirmed, Dies: "the units of a paid order are sold, its event is not acknowledged",
			Ends: "PAID; the units are sold once, the event comes twice", Healer: "the broker, which delivers the event again", Try: "--sku MUG-CLASSIC --pay",
		},
		{
			Point: InventoryReleased, Dies: "the units of an order that ended are given back, its event is not acknowledged",
			Ends: "EXPIRED; the units are given back once, the event comes twice", Healer: "the broker, which delivers the event again", Try: "--sku MUG-CLASSIC",
			Env: shortPatience(),
		},
		{
			Point: InventoryBranchPrepared, Dies: "the branch of an order of the flow xa is prepared, order-srv has no answer",
			Ends: "PLACED if inventory is back at once, else REJECTED or ABANDONED; the rows are locked until then", Healer: "the recovery of xa", Try: "--sku MUG-CLASSIC --flow xa",
		},
		{
			Point: InventoryBranchCommitted, Dies: "the branch of an order of the flow xa is committed, order-srv has no answer",
			Ends: "PLACED; the branch is committed once", Healer: "the recovery of xa", Try: "--sku MUG-CLASSIC --flow xa",
		},
	}
}

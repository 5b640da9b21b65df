package crash

// The points of the wallet.
const (
	WalletFrozen    Point = "wallet@frozen"
	WalletConfirmed Point = "wallet@confirmed"
	WalletCancelled Point = "wallet@cancelled"
)

func walletPoints() []Info {
	return []Info{
		{
			Point: WalletFrozen, Dies: "the money of an order is frozen, order-srv has no answer",
			Ends: "ABANDONED unless the wallet is back at once; the units and the money are given back", Healer: "the sweeper", Try: "--sku MUG-CLASSIC --flow tcc",
		},
		{
			Point: WalletConfirmed, Dies: "the money of a paid order is paid, order-srv has no answer",
			Ends: "PAID; the money is paid once, the confirmation is sent twice", Healer: "the coordinator", Try: "--sku MUG-CLASSIC --flow tcc --pay",
		},
		{
			Point: WalletCancelled, Dies: "the money of an expired order is returned, order-srv has no answer",
			Ends: "EXPIRED; the money is returned once, the cancellation is sent twice", Healer: "the coordinator", Try: "--sku MUG-CLASSIC --flow tcc",
			Env: shortPatience(),
		},
	}
}

package crash

// The points of the wallet.
const (
	WalletFrozen    Point = "wallet@frozen"
	WalletConfirmed Point = "wallet@confirmed"
	WalletCancelled Point = "wallet@cancelled"
)

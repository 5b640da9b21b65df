package inventoryapi

// TopicStockReserved carries the answers to order-srv's stock-reserve messages.
const TopicStockReserved = "stock-reserved"

// StockReserved is the body on TopicStockReserved. Each order is in one message: an order is answered once. A problem is
// a refusal, never a failure that a retry may mend.
type StockReserved struct {
	Results []ReserveResult `json:"results"`
}

// Package gateway serves the public HTTP contract. It identifies the caller, refuses malformed requests before a back
// end sees them, limits the requests in flight and passes the rest on. It has no database and decides nothing about
// orders or stock. It passes the services' problems to the client with code, details, ambiguity and request id.
package gateway

import (
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

// Config is what the gateway needs.
type Config struct {
	Orders    *orderapi.Client
	Gatherer  *orderapi.Gatherer // places the orders; nil: each has a call of its own
	Inventory *inventoryapi.Client
	Wallet    *walletapi.Client
	Tokens    *Tokens
	DemoLogin bool // POST /v1/login exists and issues a token for any name and role
	Lab       bool // an order may choose its strategy and its flow
	Engine    web.EngineConfig

	// Limiters of the requests in flight, one for each kind, so that a rush of one kind leaves the others their slots; nil
	// admits everything. Paying and cancelling are Changing. Administrators are not limited.
	Placing, Changing, Reading *admit.Limiter

	MaxWaiting int             // requests that wait for an order at most; default the constant
	Stopping   <-chan struct{} // closed when the gateway begins to stop: requests that wait are answered; nil: never
}

// MaxWaiting is how many requests wait for orders at most, each on a connection of its own to order-srv. It is what one
// order-srv lets wait.
const MaxWaiting = 1000

// MaxBody is the largest body the gateway takes, in bytes: an order of 100 lines has less than a quarter of it.
const MaxBody = 64 << 10

// The page sizes of all lists.
const (
	defaultPage = 50
	maxPage     = 100
)

// gateway holds the handlers. They are in files by resource.
type gateway struct {
	orders    *orderapi.Client
	gatherer  *orderapi.Gatherer // nil: each order has a call of its own
	inventory *inventoryapi.Client
	wallet    *walletapi.Client
	tokens    *Tokens
	lab       bool          // an order may choose its strategy and its flow, a product may be for the lab
	waiting   chan struct{} // has a value for each request that waits
	stopping  <-chan struct{}
}

// What the gateway itself refuses, beside the faults that orderapi, inventoryapi and walletapi name.
var (
	errUnauthenticated = fault.New(fault.Unauthenticated, "unauthenticated", "a valid bearer token is required")
	errForbidden       = fault.New(fault.Forbidden, "forbidden", "your role may not do this")
	errInvalidRole     = fault.New(fault.Invalid, "invalid_role", "a role is buyer or admin")
)

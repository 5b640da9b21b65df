// Package bench measures whole orders: through the gateway, order-srv and inventory-srv, with every step durable and
// real, beside an empty chain of three services that decode an order, pass it on and encode the answer.
//
// The chain is the measure because a machine's speed changes: it was seen to change by two within minutes. Chain and
// shop take turns within one run, on the same connections from the same generator, so the ratio of the two says what
// the shop costs beyond HTTP and JSON. Orders per second of different runs, or of different machines, cannot be
// compared.
//
// What is counted, and by which program, is in [Sheet]. No figure is meant to be read without it.
package bench

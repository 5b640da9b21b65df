// Package scale measures what an order costs in a shop that already has many: it loads settled history into both
// databases, and measures the shop's work beside it.
package scale

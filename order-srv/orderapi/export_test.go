package orderapi

// Queued returns how many orders wait for a call.
func Queued(g *Gatherer) int { return g.calls.Queued() }

package orderapi

// Queued returns how many orders wait for a call.
func Queued(g *Gatherer) int { return g.calls.Queued() }

// GatherCalls is how many calls of a Gatherer are under way.
const GatherCalls = gatherCalls

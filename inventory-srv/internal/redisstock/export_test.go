package redisstock

// Before is before, for its test.
func Before(a, b string) bool { return before(a, b) }

package doctor

// For the test that compares them with other files.
const (
	MinGo         = minGo
	ComposeLimits = composeLimits
)

// Package header names the HTTP headers that are more than HTTP's own.
package header

// Headers of public requests.
const (
	IdempotencyKey = "Idempotency-Key"  // identifies an order; a repeat of the request has the same one
	Strategy       = "X-Stock-Strategy" // asks for a deduction strategy; lab mode only
	Flow           = "X-Order-Flow"     // asks for a flow; lab mode only
)

// Headers between services. The services trust them.
const (
	Credential = "X-Service-Credential"
	Deadline   = "X-Deadline-Ms" // the time that is left for the request, in milliseconds; not a clock time
	UserID     = "X-User-ID"     // the user of the call
	UserRole   = "X-User-Role"
)

// Headers of both.
const (
	RequestID  = "X-Request-ID" // identifies a request in the logs of all services
	RetryAfter = "Retry-After"
)

package fault

// Problem is a fault on the wire: RFC 9457 problem details with our own members. pkg/web fills in what belongs to HTTP.
type Problem struct {
	Type      string         `json:"type"`             // a stable URI reference, "/problems/<code>"
	Title     string         `json:"title"`            // the kind, for people
	Status    int            `json:"status,omitempty"` // repeats the HTTP status
	Detail    string         `json:"detail"`           // the fault's text
	Code      string         `json:"code"`
	Kind      Kind           `json:"kind"`
	RequestID string         `json:"request_id,omitempty"`
	Ambiguous bool           `json:"ambiguous"` // always written: a 5xx without it counts as ambiguous
	Details   map[string]any `json:"details,omitempty"`
}

// ToProblem renders err for the wire. The cause stays behind: it may name hosts, statements or users.
func ToProblem(err error) Problem {
	e := From(err)
	return Problem{
		Type: "/problems/" + e.Code, Title: string(e.Kind), Detail: e.Text,
		Code: e.Code, Kind: e.Kind, Ambiguous: e.Ambiguous, Details: e.Details,
	}
}

// Fault rebuilds the fault that [ToProblem] rendered.
func (p Problem) Fault() *Error {
	return &Error{Kind: p.Kind, Code: p.Code, Text: p.Detail, Details: p.Details, Ambiguous: p.Ambiguous}
}

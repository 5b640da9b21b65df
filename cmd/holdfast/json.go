package main

import (
	"encoding/json"
	"io"

	"holdfast/order-srv/check"
)

// printJSON prints one indented JSON document.
func printJSON(stdout io.Writer, document any) error {
	enc := json.NewEncoder(stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

// auditResult is the document of audit --json.
type auditResult struct {
	Clean      bool              `json:"clean"` // no violations, and nothing is in flight
	Sales      int64             `json:"sales"` // units that are reserved or sold
	SKUs       []check.SKU       `json:"skus"`
	Orders     map[string]int    `json:"orders"` // by status
	Messages   messagesResult    `json:"messages"`
	Violations []check.Violation `json:"violations"`
	Unsettled  []check.Violation `json:"unsettled"`
	Lost       []check.Violation `json:"lost"`
	Losses     []check.Loss      `json:"losses"`
	InDoubt    []inDoubtResult   `json:"in_doubt"` // orders of the flow tcc that the coordinator has to end
	Branches   []branchResult    `json:"branches"` // of the flow xa, which are prepared
	Healed     []check.Healing   `json:"healed"`
}

// inDoubtResult is the orders in one state of the coordinator's log.
type inDoubtResult struct {
	State  string  `json:"state"`
	Orders int     `json:"orders"`
	Oldest float64 `json:"oldest_seconds"`
}

// branchResult is a prepared branch.
type branchResult struct {
	OrderNo string   `json:"order_no"` // the global transaction
	Side    string   `json:"side"`     // orders or inventory
	State   string   `json:"state"`    // what the coordinator's log says; empty: the order is not in it
	Age     float64  `json:"age_seconds"`
	Locks   []string `json:"locks"` // rows
}

// messagesResult is the state of the messages.
type messagesResult struct {
	Undecided       int     `json:"undecided"` // half messages
	OldestUndecided float64 `json:"oldest_undecided_seconds"`
	LateAfter       float64 `json:"late_after_seconds"`
	Late            bool    `json:"late"`   // the oldest one is older
	Unsent          int     `json:"unsent"` // in the outbox
	OldestUnsent    float64 `json:"oldest_unsent_seconds"`
}

// notificationsResult are the best-effort notifications that were not delivered.
type notificationsResult struct {
	Pending int     `json:"pending"`        // to be sent, or being sent
	Failing int     `json:"failing"`        // of those: the last attempt has failed
	Oldest  float64 `json:"oldest_seconds"` // of those that are pending: since its order was paid
	GivenUp int     `json:"given_up"`
}

// statusResult is the document of status --json.
type statusResult struct {
	Up       bool            `json:"up"` // all parts run, and the gateway answers
	Parts    []partResult    `json:"parts"`
	Orders   map[string]int  `json:"orders,omitempty"`   // by status
	Messages *messagesResult `json:"messages,omitempty"` // if the gateway answers

	Notifications *notificationsResult `json:"notifications,omitempty"` // if the gateway answers

	InDoubt   []inDoubtResult  `json:"in_doubt,omitempty"`   // orders of the flow tcc that the coordinator has to end
	Branches  []branchResult   `json:"branches,omitempty"`   // of the flow xa, which are prepared
	CheckBack *checkBackResult `json:"check_back,omitempty"` // if the operations ports can be reached

	report check.Report // for the text
}

// partResult is a recorded process.
type partResult struct {
	Name     string `json:"name"`
	State    string `json:"state"` // runs or gone
	PID      int    `json:"pid"`
	MemoryMB int    `json:"memory_mb"`
	What     string `json:"what"`
	Log      string `json:"log"`
}

// checkBackResult are figures of all replicas.
type checkBackResult struct {
	ChecksPerSecond float64 `json:"checks_per_second"`
	Undecided       float64 `json:"undecided"`
	ReleaseRepeats  float64 `json:"release_repeats"` // since the start
}

func newAuditResult(r check.Report) auditResult {
	return auditResult{
		Clean: len(r.Violations)+len(r.Unsettled)+r.Unlisted == 0, Sales: sales(r), SKUs: list(r.SKUs), Orders: r.Orders,
		Messages: newMessagesResult(r.Messages), Violations: list(r.Violations), Unsettled: list(r.Unsettled),
		Lost: list(r.Lost), Losses: list(r.Losses), InDoubt: list(newInDoubtResults(r.InDoubt)), Branches: list(newBranchResults(r.Branches)), Healed: list(r.Healed),
	}
}

func newInDoubtResults(found []check.InDoubt) []inDoubtResult {
	var results []inDoubtResult
	for _, d := range found {
		results = append(results, inDoubtResult{d.State, d.Orders, d.Oldest.Seconds()})
	}
	return results
}

func newBranchResults(found []check.Branch) []branchResult {
	var results []branchResult
	for _, b := range found {
		results = append(results, branchResult{b.OrderNo, b.Side, b.State, b.Age.Seconds(), list(b.Locks)})
	}
	return results
}

func newMessagesResult(m check.Messages) messagesResult {
	return messagesResult{
		Undecided: m.Undecided, OldestUndecided: m.OldestUndecided.Seconds(), LateAfter: m.LateAfter.Seconds(),
		Late:   m.Undecided > 0 && m.OldestUndecided > m.LateAfter,
		Unsent: m.Unsent, OldestUnsent: m.OldestUnsent.Seconds(),
	}
}

// list returns an empty list for nil, so that JSON has [] and not null.
func list[T any](values []T) []T {
	if values == nil {
		return []T{}
	}
	return values
}

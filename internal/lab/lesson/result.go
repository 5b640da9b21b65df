package lesson

import (
	"fmt"
	"time"

	"holdfast/internal/lab/step"
)

// Result is what a run of a lesson showed.
type Result struct {
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Holds   bool    `json:"holds"` // there are claims, and all of them are true
	Claims  []Claim `json:"claims"`
	Tables  []Table `json:"tables"`
	Seconds float64 `json:"seconds"`
	Skipped string  `json:"skipped,omitempty"` // what this machine lacks; the lesson has made no claim
	Error   string  `json:"error,omitempty"`   // why the lesson could not be run to its end
}

// Claim is a statement that the lesson checked.
type Claim struct {
	Text    string    `json:"text"`
	Holds   bool      `json:"holds"`
	Figures []float64 `json:"figures"` // the numbers in the text, in the order of the English text
}

// Table is a table of the lesson. A cell is a number or a text.
type Table struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
}

// recorder makes a result of a lesson's events.
type recorder struct {
	texts  step.Catalogue
	result Result
}

func (r *recorder) record(e step.Event) {
	switch e.Kind {
	case step.Claimed:
		r.result.Claims = append(r.result.Claims, Claim{Text: r.texts.Say(e.Text), Holds: e.Holds, Figures: e.Text.Figures()})
	case step.Tabled:
		columns, rows := e.Table.In(r.texts)
		r.result.Tables = append(r.result.Tables, Table{Columns: columns, Rows: rows})
	}
}

// end returns what the run showed. failed is the error with which it ended, or nil.
func (r *recorder) end(took time.Duration, failed error) Result {
	result := r.result
	result.Seconds = took.Seconds()
	result.Holds = failed == nil && len(result.Claims) > 0 && result.broken() == 0
	if failed != nil {
		result.Error = fmt.Sprint(failed)
	}
	return result
}

// broken counts the claims that are false.
func (r Result) broken() int {
	n := 0
	for _, c := range r.Claims {
		if !c.Holds {
			n++
		}
	}
	return n
}

package lesson

import (
	"fmt"
	"time"
)

// Result is what a run of a lesson showed.
type Result struct {
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Holds   bool    `json:"holds"` // there are claims, and all of them are true
	Claims  []Claim `json:"claims"`
	Tables  []Table `json:"tables"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"` // why the lesson could not be run to its end
}

// Claim is a statement that the lesson checked.
type Claim struct {
	Text    string    `json:"text"`
	Holds   bool      `json:"holds"`
	Figures []float64 `json:"figures"` // the numbers in the text, in its order
}

// Table is a table of the lesson. A cell is a number or a text.
type Table struct {
	Columns []string `json:"columns"`
	Rows    [][]any  `json:"rows"`
}

// result returns what the run showed. failed is the error with which it ended, or nil.
func (e *Env) result(took time.Duration, failed error) Result {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := Result{
		Name: e.lesson.Name, Title: e.lesson.Title, Claims: append([]Claim{}, e.claims...), Tables: append([]Table{}, e.tables...),
		Seconds: took.Seconds(),
	}
	r.Holds = failed == nil && len(r.Claims) > 0 && r.broken() == 0
	if failed != nil {
		r.Error = failed.Error()
	}
	return r
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

// figures returns the numbers among the arguments of a text.
func figures(args []any) []float64 {
	numbers := []float64{}
	for _, arg := range args {
		if n, ok := number(arg); ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// number returns false for everything that is no plain number, also for a duration: its text has a unit.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int32:
		return float64(n), true
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// newTable returns the table of the rows. The first row is the header.
func newTable(rows [][]any) Table {
	t := Table{Columns: []string{}, Rows: [][]any{}}
	for i, row := range rows {
		cells := make([]any, len(row))
		for j, v := range row {
			n, ok := number(v)
			if cells[j] = n; !ok {
				cells[j] = fmt.Sprint(v)
			}
			if i == 0 {
				t.Columns = append(t.Columns, fmt.Sprint(v))
			}
		}
		if i > 0 {
			t.Rows = append(t.Rows, cells)
		}
	}
	return t
}

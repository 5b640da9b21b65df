package step

import (
	"encoding/json"
	"fmt"
)

// Kind says what happened.
type Kind string

// The kinds of events, in the order in which a step causes them.
const (
	Opened   Kind = "opened"   // a scene begins; Text is its title
	Noted    Kind = "noted"    // a remark on the stage
	Replayed Kind = "replayed" // the scene begins again, and will pause before Step
	Asked    Kind = "asked"    // the step will be executed next; only with a Pacer
	Waiting  Kind = "waiting"  // the step waits for another actor
	Done     Kind = "done"     // the step has ended; Text is its result
	Looked   Kind = "looked"   // what is stored after the step; only with a Pacer
	Tabled   Kind = "tabled"   // a table at the end of a scene
	Claimed  Kind = "claimed"  // a statement that was checked
)

// Event is one thing that happened. Scene and Step count from 1; a Step of 0 is the scene itself.
type Event struct {
	Kind      Kind   `json:"kind"`
	Scene     int    `json:"scene"`
	Step      int    `json:"step,omitempty"`
	Actor     string `json:"actor,omitempty"`  // empty: no actor, such as the passing of time
	Column    int    `json:"column,omitempty"` // of the actor, from 1, if the stage shows its actors side by side
	Text      Text   `json:"text"`
	Statement string `json:"statement,omitempty"`
	Ask       *Text  `json:"ask,omitempty"`     // the question to the reader
	Choices   []Text `json:"choices,omitempty"` // the answers to choose from
	Table     *Table `json:"table,omitempty"`
	Views     []View `json:"views,omitempty"`
	Holds     bool   `json:"holds,omitempty"` // of a claim
}

// Table is a table; a cell is a number, a string or a Text.
type Table struct {
	Columns []any   `json:"columns"`
	Rows    [][]any `json:"rows"`
}

// UnmarshalJSON reads a table as it was sent.
func (t *Table) UnmarshalJSON(data []byte) error {
	var raw struct {
		Columns []json.RawMessage   `json:"columns"`
		Rows    [][]json.RawMessage `json:"rows"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*t = Table{}
	for i, row := range append([][]json.RawMessage{raw.Columns}, raw.Rows...) {
		cells := make([]any, len(row))
		for j, data := range row {
			cell, err := fromJSON(data)
			if err != nil {
				return err
			}
			cells[j] = cell
		}
		if i == 0 {
			t.Columns = cells
			continue
		}
		t.Rows = append(t.Rows, cells)
	}
	return nil
}

// NewTable returns the table of rows; the first is the header.
func NewTable(rows ...[]any) *Table {
	t := &Table{}
	for i, row := range rows {
		cells := make([]any, len(row))
		for j, v := range row {
			cells[j] = plain(v)
		}
		if i == 0 {
			t.Columns = cells
			continue
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// In returns the table with its Texts in the language of the catalogue: numbers are float64, all else is a string.
func (t *Table) In(c Catalogue) (columns []string, rows [][]any) {
	columns, rows = []string{}, [][]any{}
	for _, cell := range t.Columns {
		columns = append(columns, fmt.Sprint(inLanguage(c, cell)))
	}
	for _, row := range t.Rows {
		cells := make([]any, len(row))
		for i, cell := range row {
			cells[i] = inLanguage(c, cell)
		}
		rows = append(rows, cells)
	}
	return columns, rows
}

func inLanguage(c Catalogue, cell any) any {
	if text, ok := cell.(Text); ok {
		return c.Say(text)
	}
	if n, ok := number(cell); ok {
		return n
	}
	return cell
}

// View is what one place has stored: rows, keys, locks. Each row is a line of text.
type View struct {
	Name Text     `json:"name"`
	Rows []string `json:"rows"`
}

package step

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"holdfast/internal/dev/terminal"
)

// Terminal renders events as text in one language. A crowd and its table are printed only when the reader steps: the
// scene ends with the table that compares.
type Terminal struct {
	Out      io.Writer
	Texts    Catalogue
	Stepping bool

	hinted bool // the keys have been explained
	last   *Table
}

// columnWidth is the width of an actor's column.
const columnWidth = 38

// Show prints an event.
func (t *Terminal) Show(e Event) {
	switch e.Kind {
	case Opened:
		t.print("\n%d. %s", e.Scene, t.Texts.Say(e.Text))
	case Replayed:
		t.print("\n%d. %s", e.Scene, t.Texts.Say(T("step.replayed", e.Step)))
	case Noted:
		t.line(e, t.Texts.Say(e.Text))
	case Asked:
		t.ask(e)
	case Waiting:
		t.actorLine(e, t.Texts.Say(T("step.waits", e.Text)))
	case Done:
		if e.Table != nil && !t.Stepping {
			return
		}
		t.actorLine(e, t.Texts.Say(e.Text))
		if e.Table != nil {
			t.table(e.Table)
		}
	case Looked:
		t.views(e.Views)
	case Tabled:
		t.table(e.Table)
	case Claimed:
		mark := "✓"
		if !e.Holds {
			mark = "✗ FALSE:"
		}
		t.print("   %s %s", mark, t.Texts.Say(e.Text))
	}
}

func (t *Terminal) print(format string, args ...any) { fmt.Fprintf(t.Out, format+"\n", args...) }

// line prints a text in the actor's column.
func (t *Terminal) line(e Event, text string) {
	indent := "   "
	if e.Column > 1 {
		indent += strings.Repeat(" ", columnWidth*(e.Column-1))
	}
	for line := range strings.SplitSeq(text, "\n") {
		t.print("%s%s", indent, line)
	}
}

// actorLine prints what an actor does: in its column, or after its name.
func (t *Terminal) actorLine(e Event, text string) {
	if e.Column == 0 && e.Actor != "" {
		text = e.Actor + ": " + text
	}
	t.line(e, text)
}

// ask announces the next step and asks what it will do.
func (t *Terminal) ask(e Event) {
	text := t.Texts.Say(e.Text)
	if e.Actor != "" {
		text = e.Actor + ": " + text
	}
	t.print("\n   [%d.%d] %s", e.Scene, e.Step, text)
	if e.Statement != "" {
		t.print("         %s", strings.ReplaceAll(e.Statement, "\n", "\n         "))
	}
	if e.Ask != nil {
		t.print("         ? %s", t.Texts.Say(*e.Ask))
	}
	for i, choice := range e.Choices {
		t.print("         %c) %s", 'a'+i, t.Texts.Say(choice))
	}
	if len(e.Choices) > 0 {
		t.print("         %s", t.Texts.Say(T("step.choose")))
	}
	if !t.hinted {
		t.hinted = true
		t.print("         %s", t.Texts.Say(T("step.keys")))
	}
}

// views prints what is stored, one place after the other.
func (t *Terminal) views(views []View) {
	for _, v := range views {
		name := t.Texts.Say(v.Name)
		if len(v.Rows) == 0 {
			t.print("      | %s: %s", name, t.Texts.Say(T("step.nothing")))
		}
		for _, row := range v.Rows {
			t.print("      | %s: %s", name, row)
		}
	}
}

// table prints a table, unless it was the last one that was printed.
func (t *Terminal) table(table *Table) {
	if reflect.DeepEqual(table, t.last) {
		return
	}
	t.last = table
	columns, rows := table.In(t.Texts)
	lines := [][]string{columns}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = fmt.Sprint(cell)
			if n, ok := cell.(float64); ok { // Sprint prints a million as 1e+06
				cells[i] = strconv.FormatFloat(n, 'f', -1, 64)
			}
		}
		lines = append(lines, cells)
	}
	widths := make([]int, len(columns))
	for _, cells := range lines {
		for i, cell := range cells {
			widths[i] = max(widths[i], terminal.Width(cell))
		}
	}
	for _, cells := range lines {
		var line strings.Builder
		for i, cell := range cells {
			line.WriteString(terminal.Pad(cell, widths[i]+3, false))
		}
		t.print("   %s", strings.TrimRight(line.String(), " "))
	}
}

package bench

import (
	_ "embed" // for the page
	"html/template"
	"io"
)

//go:embed page.html
var pageHTML string

// pageRow is one load in the page's table.
type pageRow struct {
	Shape Shape
	Cells []pageCell
}

type pageCell struct {
	Subject string
	Ran     bool
	Bar     int // width of the bar in percent of the chain's throughput
	Summary
}

func (r Report) rows() []pageRow {
	var rows []pageRow
	for _, shape := range r.Shapes() {
		one := pageRow{Shape: shape}
		for _, subject := range r.Subjects() {
			s, ok := r.Summary(subject, shape)
			one.Cells = append(one.Cells, pageCell{Subject: subject, Ran: ok, Bar: int(100 * min(1.5, s.Ratio) / 1.5), Summary: s})
		}
		rows = append(rows, one)
	}
	return rows
}

func (r Report) page(w io.Writer) error {
	t, err := template.New("page").Funcs(template.FuncMap{"known": known}).Parse(pageHTML)
	if err != nil {
		return err
	}
	return t.Execute(w, map[string]any{
		"Report": r, "Rows": r.rows(), "Sheet": r.Sheet.lines(), "Processes": r.processes(), "Broken": r.Broken(), "Repetitions": r.repetitions(),
	})
}

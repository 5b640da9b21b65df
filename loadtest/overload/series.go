package main

import (
	"fmt"
	"strings"
)

// series is one curve of the page: goodput against the offered load, both relative to the capacity.
type series struct {
	Name   string
	Colour string
	Points string // points of an SVG polyline
	Dots   []dot
}

type dot struct{ X, Y, Label string }

const (
	chartWidth, chartHeight = 600.0, 240.0
	chartMost               = 10.0 // right edge, as a multiple of the capacity
	chartTop                = 1.2  // upper edge, as a multiple of the capacity
)

// series returns a curve for each number of connections.
func (r *report) series() []series {
	colours := []string{"#1f77b4", "#d62728", "#2ca02c", "#9467bd"}
	var all []series
	at := map[int]int{}
	for _, one := range r.Rows {
		if one.Factor == 0 || r.Capacity == 0 {
			continue
		}
		i, known := at[one.Connections]
		if !known {
			i = len(all)
			at[one.Connections] = i
			all = append(all, series{Name: fmt.Sprintf("%d connections", one.Connections), Colour: colours[i%len(colours)]})
		}
		share := one.Goodput / r.Capacity
		d := dot{
			X:     fmt.Sprintf("%.1f", chartWidth*min(one.Factor, chartMost)/chartMost),
			Y:     fmt.Sprintf("%.1f", chartHeight*(1-min(share, chartTop)/chartTop)),
			Label: fmt.Sprintf("%g times: %.0f per second, %.0f %%", one.Factor, one.Goodput, 100*share),
		}
		all[i].Dots = append(all[i].Dots, d)
		all[i].Points = strings.TrimSpace(all[i].Points + " " + d.X + "," + d.Y)
	}
	return all
}

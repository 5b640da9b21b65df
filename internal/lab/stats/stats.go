// Package stats summarises the repetitions of a measurement.
package stats

import "slices"

// Median returns the median, or 0 without values. For an even number of values it is the mean of the two middle ones.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Distinct returns the values of a key, each once, in the order in which the items have them.
func Distinct[T any, K comparable](items []T, key func(T) K) []K {
	var keys []K
	for _, item := range items {
		if k := key(item); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

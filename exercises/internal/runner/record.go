package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/internal/dev/jsonfile"
)

// record is what the runner keeps between two commands. Losing it costs time and no knowledge: the checks run again.
type record struct {
	Verdicts map[string]verdict `json:"verdicts"` // by the exercise's folder
	Hints    map[string]int     `json:"hints"`    // by the exercise's folder: the highest level that was given
}

// verdict is the outcome of a check of one binary.
type verdict struct {
	Key     string  `json:"key"` // see keys
	Outcome Outcome `json:"outcome"`
}

func (r *Runner) recordFile() string { return filepath.Join(r.State, "record.json") }

// load reads the record. It is empty if none exists, or none that this version can read.
func (r *Runner) load() (record, error) {
	rec := record{}
	text, err := os.ReadFile(r.recordFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rec, fmt.Errorf("read the record of the exercises: %w", err)
	}
	if err == nil && json.Unmarshal(text, &rec) != nil {
		rec = record{}
	}
	if rec.Verdicts == nil {
		rec.Verdicts = map[string]verdict{}
	}
	if rec.Hints == nil {
		rec.Hints = map[string]int{}
	}
	return rec, nil
}

// change reads the record, changes it and replaces the file atomically. Of two commands that change it at the same
// moment one may be lost.
func (r *Runner) change(change func(rec *record)) error {
	rec, err := r.load()
	if err != nil {
		return err
	}
	change(&rec)
	if err := jsonfile.Replace(r.recordFile(), rec); err != nil {
		return fmt.Errorf("write the record of the exercises: %w", err)
	}
	return nil
}

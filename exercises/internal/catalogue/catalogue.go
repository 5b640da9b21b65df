// Package catalogue lists the exercises: number, folder, time, servers and hints of each. Their texts are files of the
// packages with the checks, which are read when they are needed: this package imports no exercise, so a learner's file
// that does not compile breaks nothing but its own exercise.
package catalogue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"holdfast/exercises/internal/trial"
	"holdfast/internal/lab/step"
)

// Module is the path of the exercises' module.
const Module = "holdfast/exercises"

// Servers that an exercise needs.
const (
	MySQL = "MySQL"
	Redis = "Redis"
)

// Exercise is one exercise.
type Exercise struct {
	Number  int
	Dir     string   // of the learner's file, below the module's folder: 01-conditional-update
	Minutes int      // for a learner who has done the chapter's lesson
	Servers []string // MySQL, Redis
	Hints   int      // levels; each says more than the one before it
	Stages  []string // names of the checks, if each has hints of its own, equally many; nil: the hints are for all
}

// All returns the exercises by number.
func All() []Exercise {
	mysql, both := []string{MySQL}, []string{MySQL, Redis}
	lock := []string{"e04.acquire", "e04.release", "e04.renew", "e04.do"}
	return []Exercise{
		{Number: 1, Dir: "01-conditional-update", Minutes: 20, Servers: mysql, Hints: 3},
		{Number: 2, Dir: "02-for-update-order", Minutes: 25, Servers: mysql, Hints: 3},
		{Number: 3, Dir: "03-optimistic-retry", Minutes: 25, Servers: mysql, Hints: 3},
		{Number: 4, Dir: "04-redis-lock", Minutes: 60, Servers: []string{Redis}, Hints: 12, Stages: lock},
		{Number: 5, Dir: "05-fencing-claim", Minutes: 30, Servers: both, Hints: 3},
		{Number: 6, Dir: "06-idempotent-consumer", Minutes: 30, Servers: mysql, Hints: 3},
		{Number: 7, Dir: "07-outbox-relay", Minutes: 30, Servers: mysql, Hints: 3},
		{Number: 8, Dir: "08-check-back", Minutes: 30, Servers: mysql, Hints: 3},
		{Number: 9, Dir: "09-tcc", Minutes: 45, Servers: mysql, Hints: 3},
		{Number: 10, Dir: "10-own-strategy", Minutes: 60, Servers: both, Hints: 3},
	}
}

// Find returns the exercise with the number.
func Find(number int) (Exercise, error) {
	all := All()
	if number < 1 || number > len(all) {
		return Exercise{}, fmt.Errorf("there is no exercise %d; the exercises are 1 to %d", number, len(all))
	}
	return all[number-1], nil
}

// Package returns the import path of the learner's package.
func (e Exercise) Package() string { return Module + "/" + e.Dir }

// Checks returns the folder of the exercise's checks and texts, below the module's folder.
func (e Exercise) Checks() string { return fmt.Sprintf("internal/e%02d", e.Number) }

// Task returns the file with the task in a language, below the module's folder.
func (e Exercise) Task(lang string) string {
	if lang == "zh" {
		return e.Dir + "/task.zh.md"
	}
	return e.Dir + "/task.md"
}

// Solution returns the file with the solution, below the module's folder.
func (e Exercise) Solution() string { return "solutions/" + e.Dir + "/exercise.go" }

// Texts returns the exercise's texts in a language: its title, its hints, its findings, and those of the engine. root
// is the module's folder.
func (e Exercise) Texts(root, lang string) (step.Catalogue, error) {
	texts, err := trial.Catalogue(os.DirFS(filepath.Join(root, filepath.FromSlash(e.Checks()))), lang)
	if err != nil {
		return nil, fmt.Errorf("texts of exercise %d: %w", e.Number, err)
	}
	return texts, nil
}

// Title returns the exercise's title.
func (e Exercise) Title(texts step.Catalogue) string { return texts.Say(step.T("exercise.title")) }

// FirstHint returns the level of the first hint for the check with the name, or 1.
func (e Exercise) FirstHint(check string) int {
	stage := slices.Index(e.Stages, check)
	if stage < 0 {
		return 1
	}
	return stage*e.Hints/len(e.Stages) + 1
}

// Hint returns the hint of a level, from 1.
func (e Exercise) Hint(texts step.Catalogue, level int) string {
	return texts.Say(step.T(fmt.Sprintf("exercise.hint.%d", level)))
}

// Root returns the module's folder: the given folder, one above it, or its subfolder "exercises".
func Root(from string) (string, error) {
	module := regexp.MustCompile(`(?m)^module ` + Module + `$`)
	from, err := filepath.Abs(from)
	if err != nil {
		return "", err
	}
	for dir := from; ; dir = filepath.Dir(dir) {
		for _, candidate := range []string{dir, filepath.Join(dir, "exercises")} {
			text, err := os.ReadFile(filepath.Join(candidate, "go.mod"))
			if err == nil && module.Match(text) {
				return candidate, nil
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no folder of the module %s at or above %s", Module, from)
		}
	}
}

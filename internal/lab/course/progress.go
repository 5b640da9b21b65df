package course

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"holdfast/internal/dev/jsonfile"
)

// Progress has the lessons that held and the exercises that passed on a learner's machine, each with the time at which
// it first did: lessons by name, exercises by folder.
type Progress struct {
	Held map[string]time.Time `json:"held"`
}

// Load reads the progress from a file. It is empty if there is no file.
func Load(path string) (Progress, error) {
	p := Progress{Held: map[string]time.Time{}}
	if _, err := jsonfile.Read(path, &p); err != nil {
		return Progress{}, fmt.Errorf("read the course's progress in %s: %w", path, err)
	}
	if p.Held == nil { // the file has a null
		p.Held = map[string]time.Time{}
	}
	return p, nil
}

// Record writes into the file that the lesson, or the exercise, held at the time. One that held before keeps its time.
// The file is replaced atomically: a reader, or the next run after a crash, sees the old progress or the new one. Of
// two lessons that end at the same moment in two terminals one may be missing afterwards; running it again records it.
func Record(path, lesson string, at time.Time) error {
	p, err := Load(path)
	if err != nil {
		return err
	}
	if _, ok := p.Held[lesson]; ok {
		return nil
	}
	p.Held[lesson] = at.UTC().Truncate(time.Second)
	if err := jsonfile.Replace(path, p); err != nil {
		return fmt.Errorf("record the lesson in %s: %w", path, err)
	}
	return nil
}

// Reset forgets the progress. It is no error if none exists.
func Reset(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the course's progress: %w", err)
	}
	return nil
}

// Next returns the first lesson in the course's order that has not held. Optional chapters come last. ok is false if
// all have.
func (p Progress) Next() (next Place, ok bool) {
	for _, place := range Places() {
		if _, held := p.Held[place.Lesson.Name]; !held {
			return place, true
		}
	}
	return Place{}, false
}

// Done returns how many lessons have held and how many exercises have passed.
func (p Progress) Done() (lessons, exercises int) {
	for _, c := range Chapters() {
		for _, l := range c.Lessons {
			if _, held := p.Held[l.Name]; held {
				lessons++
			}
		}
		if _, held := p.Held[c.Exercise.Dir]; held {
			exercises++
		}
	}
	return lessons, exercises
}

// Prepared returns the first exercise in the course's order that has not passed and whose chapter's lessons have all
// held. ok is false if none exists. A chapter without a lesson prepares its exercise when all lessons have held.
func (p Progress) Prepared() (e Exercise, ok bool) {
	_, more := p.Next()
	for _, c := range Chapters() {
		if _, passed := p.Held[c.Exercise.Dir]; passed || c.Exercise.Number == 0 {
			continue
		}
		open := len(c.Lessons) == 0 && more
		for _, l := range c.Lessons {
			_, held := p.Held[l.Name]
			open = open || !held
		}
		if !open {
			return c.Exercise, true
		}
	}
	return Exercise{}, false
}

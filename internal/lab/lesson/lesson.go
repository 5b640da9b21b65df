package lesson

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/step"
)

// ErrDoesNotHold means that a check of the lesson failed.
var ErrDoesNotHold = errors.New("the lesson does not hold")

// skipError ends a lesson that needs what this machine lacks. The run is no failure; it says what is missing.
type skipError struct{ reason step.Text }

// Error implements error.
func (s *skipError) Error() string { return "skipped: " + s.reason.Key }

// timeout bounds one lesson on a busy machine; most take a few seconds. A lesson whose reader steps has no bound.
const timeout = 3 * time.Minute

// Lesson is a lesson that can be run.
type Lesson struct {
	Name string // name on the command line and of the page, docs/lessons/NAME.md
	// Scenes returns the lesson's parts. An error means that the lesson could not be run.
	Scenes func(ctx context.Context, e *Env) ([]step.Scene, error)
	// Roles are the functions of the lesson's other processes, by the name that is passed to Env.Start.
	Roles map[string]Role
	// Takes names the parameters that change the lesson.
	Takes []string
	// Messages says that the lesson uses the broker.
	Messages bool
}

// Title returns the lesson's title in the language of the texts.
func (l Lesson) Title(texts step.Catalogue) string { return texts.Say(step.T(l.Name + ".title")) }

// All returns the lessons in reading order.
func All() []Lesson {
	return []Lesson{
		naive(),
		mutexTwoInstances(),
		forUpdate(),
		missingIndex(),
		optimistic(),
		unsortedLocks(),
		setIfAbsent(),
		deadHolder(),
		renewal(),
		hungHolder(),
		ownerOnlyDelete(),
		redlock(),
		redsyncSource(),
		unlockBeforeCommit(),
		fence(),
		emptyBucket(),
		skippedUnits(),
		luaLosesMemory(),
		twoDatabases(),
		reliableMessage(),
		localMessageTable(),
		capPartition(),
		tccEmptyCancel(),
		tccHanging(),
		tccRepeat(),
		twoPhaseCommit(),
		threePhaseCommit(),
		bestEffortNotification(),
		duplicates(),
		messageTypes(),
		rocketmqTour(),
		choosingMQ(),
		peakShaving(),
	}
}

// Find returns the lesson with the name.
func Find(name string) (Lesson, bool) {
	all := All()
	i := slices.IndexFunc(all, func(l Lesson) bool { return l.Name == name })
	if i < 0 {
		return Lesson{}, false
	}
	return all[i], true
}

// Config contains what lessons need to run.
type Config struct {
	Servers *stack.OnDemand
	// Self is the command of this program that runs RunRole. The arguments of RunRole are appended to it.
	Self   []string
	Out    io.Writer
	Lang   string           // of the texts, see Languages
	Pace   step.Pacer       // pauses before each step; nil: the lesson runs without a pause
	Events func(step.Event) // receives the events besides Out; nil: nothing
	Params Params
}

// Run runs the lesson, cleans up after it and returns what it showed. The error is ErrDoesNotHold if a check failed or
// if the lesson made no check. A lesson that needs what this machine lacks is skipped, without an error. Any other
// error means that the lesson could not be run; the result then has the checks until that point.
func Run(ctx context.Context, l Lesson, cfg Config) (Result, error) {
	texts, err := Texts(cfg.Lang)
	if err != nil {
		return Result{}, err
	}
	if err := cfg.Params.Check(l); err != nil {
		return Result{}, err
	}
	if cfg.Pace == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	e := newEnv(l, cfg)
	r := &recorder{texts: texts, result: Result{Name: l.Name, Title: l.Title(texts), Claims: []Claim{}, Tables: []Table{}}}
	fmt.Fprintln(cfg.Out, texts.Say(step.T("lesson.head", l.Name, r.result.Title)))
	start := time.Now()
	err = e.play(ctx, r)
	took := time.Since(start)
	if cleanErr := e.clean(context.WithoutCancel(ctx)); cleanErr != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", cleanErr))
	}
	if skip, ok := errors.AsType[*skipError](err); ok {
		r.result.Skipped, r.result.Seconds = texts.Say(skip.reason), took.Seconds()
		fmt.Fprintf(cfg.Out, "\n%s\n", r.result.Skipped)
		return r.result, nil
	}
	result := r.end(took, err)
	switch {
	case err != nil:
		return result, fmt.Errorf("lesson %s: %w", l.Name, err)
	case !result.Holds:
		return result, fmt.Errorf("lesson %s: %w: %d of %d checks failed", l.Name, ErrDoesNotHold, result.broken(), len(result.Claims))
	}
	fmt.Fprintf(cfg.Out, "\n%s\n", texts.Say(step.T("lesson.passed", len(result.Claims), took.Round(10*time.Millisecond), l.Name)))
	return result, nil
}

// play plays the lesson's scenes.
func (e *Env) play(ctx context.Context, r *recorder) error {
	terminal := &step.Terminal{Out: e.cfg.Out, Texts: r.texts, Stepping: e.stepping()}
	player := &step.Player{Pace: e.cfg.Pace, Emit: func(event step.Event) {
		terminal.Show(event)
		r.record(event)
		if e.cfg.Events != nil {
			e.cfg.Events(event)
		}
	}}
	scenes, err := e.lesson.Scenes(ctx, e)
	if err != nil {
		return err
	}
	for i, s := range scenes {
		if err := player.Play(ctx, i+1, s); err != nil {
			return err
		}
	}
	return nil
}

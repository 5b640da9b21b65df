package lesson

import (
	"context"
	"fmt"
	"strings"

	"holdfast/internal/lab/step"
)

func duplicates() Lesson {
	return Lesson{
		Name: "duplicates", Scenes: duplicatesScenes, Messages: true,
		Roles: map[string]Role{"sender": sendOrder, "consumer": consumeOrders},
	}
}

// The lesson's topic, consumer group and order.
const (
	duplicatesTopic = "stock-reserve"
	duplicatesGroup = "inventory-reserve"
	duplicatesOrder = "ORD-1"
	duplicatesStock = 10
)

// How a consumer recognizes a message that it has handled, by the names of their texts.
const (
	guardNone  = "none"  // not at all
	guardApart = "apart" // by a row that is committed before the effect
	guardID    = "id"    // by a row with the message's identifier, in the transaction of the effect
	guardKey   = "key"   // by a row with the order number, in the transaction of the effect
)

// The consumer's statements.
const (
	createHandled = "CREATE TABLE handled (message VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY)"
	insertHandled = "INSERT IGNORE INTO handled (message) VALUES (?)"
	takeUnit      = "UPDATE stock SET available = available - 1 WHERE sku = ? AND available >= 1"
)

// duplicatesWays returns the guards with their scripts. A line names an actor and what it does, see [redelivery.step],
// and may be followed by a question.
func duplicatesWays() []duplicatesWay {
	return []duplicatesWay{
		{guardNone, []string{
			"S1 sends", "A takes", "A dies", "B takes ? duplicates.ask.again", "B fails", "B takes ? duplicates.ask.third", "B acknowledges",
		}},
		{guardApart, []string{
			"S1 sends", "A notes", "A dies", "B takes ? duplicates.ask.apart", "B acknowledges",
		}},
		{guardID, []string{
			"S1 sends", "S1 dies", "A takes", "A acknowledges", "S2 sends", "A takes ? duplicates.ask.id", "A acknowledges",
		}},
		{guardKey, []string{
			"S1 sends", "S1 dies", "A takes", "A dies", "B takes ? duplicates.ask.key", "B fails", "B takes", "B acknowledges",
			"S2 sends", "B takes ? duplicates.ask.key", "B acknowledges",
		}},
	}
}

type duplicatesWay struct {
	guard  string
	script []string
}

func duplicatesScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.db.ExecContext(ctx, createHandled); err != nil {
		return nil, err
	}
	b, err := e.broker(ctx)
	if err != nil {
		return nil, err
	}
	results := map[string]*redelivery{}
	var scenes []step.Scene
	for i, way := range duplicatesWays() {
		scenes = append(scenes, e.scene(step.T("duplicates."+way.guard), func(ctx context.Context) (*step.Stage, error) {
			d, err := e.redelivery(ctx, s, b, way.guard)
			if err != nil {
				return nil, err
			}
			results[way.guard] = d
			stage := d.stage(way.script)
			if i == 0 {
				stage.Notes = append(stage.Notes, b.note())
			}
			stage.End = func(ctx context.Context, end *step.Ending) error {
				left, err := s.left(ctx)
				d.gone = duplicatesStock - left
				d.check(end)
				return err
			}
			return stage, nil
		}))
	}
	return append(scenes, e.scene(step.T("duplicates.results"), func(context.Context) (*step.Stage, error) {
		return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
			table := [][]any{{"", step.T("duplicates.sent"), step.T("duplicates.delivered"), step.T("duplicates.gone")}}
			for _, way := range duplicatesWays() {
				r := results[way.guard]
				table = append(table, []any{step.T("duplicates." + way.guard + ".row"), r.sent, r.delivered, r.gone})
			}
			end.Table(table...)
			return nil
		}}, nil
	})), nil
}

// redelivery is a scene: one order for one unit, as a message that is delivered more than once.
type redelivery struct {
	e         *Env
	shelf     *shelf
	broker    *broker
	guard     string
	namespace string
	processes map[string]*Process // by actor

	sent, delivered int
	messages        []string // identifiers, in the order of their first delivery
	gone            int64    // units
}

// redelivery resets the rows and takes a new namespace, in which there is no message yet.
func (e *Env) redelivery(ctx context.Context, s *shelf, b *broker, guard string) (*redelivery, error) {
	if err := s.fill(ctx, duplicatesStock); err != nil {
		return nil, err
	}
	if _, err := s.db.ExecContext(ctx, "DELETE FROM handled"); err != nil {
		return nil, err
	}
	return &redelivery{e: e, shelf: s, broker: b, guard: guard, namespace: b.namespace(), processes: map[string]*Process{}}, nil
}

func (d *redelivery) stage(script []string) *step.Stage {
	stage := &step.Stage{Look: []step.Looker{
		d.shelf.lookRows(step.T("step.row"), "SELECT available FROM stock WHERE sku = ?", sku),
		d.shelf.lookRows(step.T("duplicates.handled-rows"), "SELECT message FROM handled ORDER BY message"),
	}}
	actors := map[string]*step.Actor{}
	for _, line := range script {
		line, ask, _ := strings.Cut(line, " ? ")
		name, verb, _ := strings.Cut(line, " ")
		if actors[name] == nil {
			actors[name] = &step.Actor{Name: name}
			stage.Actors = append(stage.Actors, actors[name])
		}
		actors[name].Steps = append(actors[name].Steps, d.step(name, verb, ask))
		stage.Order = append(stage.Order, name)
	}
	return stage
}

// step returns a step of a script:
//
//	sends         a sender starts and sends the order; the broker has it
//	notes         a consumer starts, receives a message and commits the guard's row, without the effect
//	takes         a consumer starts, if it does not run, receives a message and handles it up to its COMMIT
//	fails         the handler returns an error
//	acknowledges  the handler returns nil
//	dies          the process is killed with SIGKILL
func (d *redelivery) step(name, verb, ask string) step.Step {
	s := step.Step{Label: step.T("duplicates." + verb), Ask: ask}
	switch verb {
	case "sends":
		s.Do = func(ctx context.Context) (step.Result, error) { return d.send(ctx, name) }
	case "notes":
		s.Statement = insertHandled
		s.Do = func(ctx context.Context) (step.Result, error) { return d.take(ctx, name, "noted") }
	case "takes":
		s.Statement = takeUnit
		if d.guard != guardNone {
			s.Statement = insertHandled + ";\n" + takeUnit
		}
		s.Do = func(ctx context.Context) (step.Result, error) { return d.take(ctx, name, "handled") }
	case "fails", "acknowledges":
		s.Do = func(context.Context) (step.Result, error) { return step.Result{}, d.processes[name].Tell(verb) }
	case "dies":
		s.Do = func(context.Context) (step.Result, error) { return step.Result{}, d.processes[name].Kill() }
	}
	return s
}

func (d *redelivery) send(ctx context.Context, name string) (step.Result, error) {
	p, err := d.e.Start("sender", d.broker.addr, d.namespace)
	if err != nil {
		return step.Result{}, err
	}
	d.processes[name] = p
	_, err = p.Await(ctx, "sent")
	d.sent++
	return step.Result{Text: step.T("duplicates.sends.got", p.PID, duplicatesOrder)}, err
}

// take lets the consumer receive the next delivery and waits for its report.
func (d *redelivery) take(ctx context.Context, name, report string) (step.Result, error) {
	p := d.processes[name]
	if p == nil {
		var err error
		if p, err = d.e.Start("consumer", d.broker.addr, d.namespace, d.shelf.dsn, d.guard); err != nil {
			return step.Result{}, err
		}
		d.processes[name] = p
	}
	answer, err := p.Await(ctx, report)
	if err != nil {
		return step.Result{}, err
	}
	var attempt, done int
	var id string
	if _, err := fmt.Sscan(answer, &attempt, &done, &id); err != nil {
		return step.Result{}, fmt.Errorf("report %q: %w", answer, err)
	}
	d.delivered++
	outcome := "duplicates." + report
	if done == 0 {
		outcome += ".before"
	}
	return step.Result{Text: step.T("duplicates.takes.got", d.delivered, d.number(id), attempt, step.T(outcome))}, nil
}

// number numbers the messages, by their identifiers.
func (d *redelivery) number(id string) int {
	for i, known := range d.messages {
		if known == id {
			return i + 1
		}
	}
	d.messages = append(d.messages, id)
	return len(d.messages)
}

func (d *redelivery) check(end *step.Ending) {
	switch d.guard {
	case guardNone:
		end.Check(len(d.messages) == 1 && d.delivered == 3 && d.gone == 3, "duplicates.none.claim", d.delivered, d.gone)
	case guardApart:
		end.Check(len(d.messages) == 1 && d.delivered == 2 && d.gone == 0, "duplicates.apart.claim")
	case guardID:
		end.Check(len(d.messages) == 2 && d.delivered == 2 && d.gone == 2, "duplicates.id.claim", d.gone)
	case guardKey:
		end.Check(len(d.messages) == 2 && d.delivered == 4 && d.gone == 1, "duplicates.key.claim", d.delivered)
	}
}

package lesson

import (
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab"
)

func emptyBucket() Lesson {
	return Lesson{Name: "empty-bucket", Scenes: emptyBucketScenes, Takes: []string{paramBuyers}}
}

// The stock of the lesson at the end of a sale: one unit in each of the first buckets.
const (
	lessonBuckets = 16
	lastUnits     = 10
)

func emptyBucketScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.shelf(ctx)
	if err != nil {
		return nil, err
	}
	cure, err := e.lab(ctx, s.dsn, "buckets")
	if err != nil {
		return nil, err
	}
	flaw, err := e.flaw(ctx, s.dsn, "one-bucket")
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("empty-bucket.last", lastUnits, lastUnits, lessonBuckets, lastUnits), func(ctx context.Context) (*step.Stage, error) {
			return oneBucketStage(ctx, s, cure, flaw)
		}),
		e.exactRush(s, "empty-bucket.rush", "empty-bucket.rush.ask", "buckets", "BUCKETS", "lesson.last-too"),
	}, nil
}

// oneBucketStage lets buyers order one after the other from the last units, with the mistake.
func oneBucketStage(ctx context.Context, s *shelf, cure, flaw *inventorylab.Lab) (*step.Stage, error) {
	product := fresh("BUCKETS")
	if err := cure.Stock(ctx, product, lastUnits+1, "first-"+product); err != nil {
		return nil, err
	}
	// The first order distributes the units over the buckets.
	if ok, err := buyOne(ctx, cure, product, ulid.Make().String()); err != nil || !ok {
		return nil, fmt.Errorf("the first order: sold %t, %w", ok, err)
	}
	var refused, left int64
	order := step.Step{
		Label: step.T("empty-bucket.order", lastUnits), Ask: "empty-bucket.order.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			for range lastUnits {
				ok, err := buyOne(ctx, flaw, product, ulid.Make().String())
				if err != nil {
					return step.Result{}, err
				}
				if !ok {
					refused++
				}
			}
			err := s.db.QueryRowContext(ctx, "SELECT SUM(available) FROM stock_buckets WHERE sku = ?", product).Scan(&left)
			return step.Result{Text: step.T("empty-bucket.order.got", refused)}, err
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{{Steps: []step.Step{order}}},
		Order:  []string{""},
		Look: []step.Looker{
			s.lookRows(step.T("empty-bucket.buckets"), "SELECT GROUP_CONCAT(available ORDER BY bucket) AS available FROM stock_buckets WHERE sku = ?", product),
		},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(refused > 0 && left == refused, "empty-bucket.last.claim", refused, lastUnits, left)
			return nil
		},
	}, nil
}

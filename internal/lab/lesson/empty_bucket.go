package lesson

import (
	"context"
	"fmt"
)

func emptyBucket() Lesson {
	return Lesson{
		Name:  "empty-bucket",
		Title: "one of sixteen buckets is empty, but the product is not sold out",
		Run:   runEmptyBucket,
	}
}

// The stock of the lesson at the end of a sale: one unit in each of the first buckets.
const (
	lessonBuckets = 16
	lastUnits     = 10
)

func runEmptyBucket(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	e.Step("The end of a sale: %d units are in %d of %d buckets. %d buyers order one after the other, and each tries one random bucket.",
		lastUnits, lastUnits, lessonBuckets, lastUnits)
	cure, err := e.lab(ctx, s.dsn, "buckets")
	if err != nil {
		return err
	}
	if err := cure.Stock(ctx, sku, lastUnits+1, "first"); err != nil {
		return err
	}
	if ok, err := buyOne(ctx, cure, sku, "FIRST"); err != nil || !ok { // it distributes the others over the buckets
		return fmt.Errorf("the first order: sold %t, %w", ok, err)
	}
	flaw, err := e.flaw(ctx, s.dsn, "one-bucket", nil)
	if err != nil {
		return err
	}
	refused := int64(0)
	for i := range lastUnits {
		ok, err := buyOne(ctx, flaw, sku, fmt.Sprintf("LAST-%d", i))
		if err != nil {
			return err
		}
		if !ok {
			refused++
		}
	}
	var left int64
	if err := s.db.QueryRowContext(ctx, "SELECT SUM(available) FROM stock_buckets WHERE sku = ?", sku).Scan(&left); err != nil {
		return err
	}
	e.Show("UPDATE stock_buckets … WHERE bucket = RAND AND available >= 1: %d buyers got \"sold out\"", refused)
	e.Check(refused > 0 && left == refused, "%d of %d buyers were refused, and %d units are left: each refusal was wrong", refused, lastUnits, left)

	e.Step("The strategy buckets: on a miss it rolls back, locks all buckets in order, and refuses only then. As a rush, with two replicas.")
	exact, err := e.rushAtTwo(ctx, s.dsn, "buckets", "BUCKETS")
	if err != nil {
		return err
	}
	e.Table(rushHead(), exact.row("buckets"))
	e.Check(exact.sold == rushUnits && exact.lost == 0, "%d of %d sold, the last unit too", exact.sold, rushUnits)
	return nil
}

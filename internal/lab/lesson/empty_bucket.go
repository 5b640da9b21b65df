package lesson

import (
	"context"
	"math/rand/v2"
)

func emptyBucket() Lesson {
	return Lesson{
		Name:  "empty-bucket",
		Title: "one of sixteen buckets is empty, and the shop is not",
		Run:   runEmptyBucket,
	}
}

// How the lesson's stock is spread at the end of a sale: one unit in each of the first buckets.
const (
	lessonBuckets = 16
	lastUnits     = 10
)

func runEmptyBucket(ctx context.Context, e *Env) error {
	s, err := e.shelf(ctx)
	if err != nil {
		return err
	}
	e.Step("The end of a sale: %d units lie in %d of %d buckets. %d buyers come, one after the other, and each looks into one of them.",
		lastUnits, lastUnits, lessonBuckets, lastUnits)
	for bucket := range lessonBuckets {
		units := 0
		if bucket < lastUnits {
			units = 1
		}
		if _, err := s.db.ExecContext(ctx, "INSERT INTO stock_buckets (sku, bucket, available) VALUES (?, ?, ?)", sku, bucket, units); err != nil {
			return err
		}
	}
	refused := int64(0)
	for range lastUnits {
		took, err := affected(s.db.ExecContext(ctx,
			"UPDATE stock_buckets SET available = available - 1 WHERE sku = ? AND bucket = ? AND available >= 1", sku, rand.IntN(lessonBuckets)))
		if err != nil {
			return err
		}
		refused += 1 - took
	}
	var left int64
	if err := s.db.QueryRowContext(ctx, "SELECT SUM(available) FROM stock_buckets WHERE sku = ?", sku).Scan(&left); err != nil {
		return err
	}
	e.Show("UPDATE stock_buckets … WHERE bucket = RAND AND available >= 1: %d buyers heard \"sold out\"", refused)
	e.Check(refused > 0 && left == refused, "%d of %d buyers were refused, and %d units are left over: each refusal was a lie", refused, lastUnits, left)

	e.Step("The strategy buckets: on a miss it lets go, locks all buckets in order, and only then may it refuse. As a rush, with two replicas.")
	exact, err := e.rushAtTwo(ctx, s.dsn, "buckets", "BUCKETS")
	if err != nil {
		return err
	}
	e.Table(rushHead(), exact.row("buckets"))
	e.Check(exact.sold == rushUnits && exact.lost == 0, "%d of %d sold, the last unit too", exact.sold, rushUnits)
	return nil
}

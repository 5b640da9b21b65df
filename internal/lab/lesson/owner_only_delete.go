package lesson

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
)

func ownerOnlyDelete() Lesson {
	return Lesson{
		Name:  "owner-only-delete",
		Title: "a late unlock frees another holder's lock",
		Run:   runOwnerOnlyDelete,
	}
}

// shortTTL makes a holder late quickly.
const shortTTL = 300 * time.Millisecond

// compareAndDelete deletes the key only if it holds the value.
const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`

func runOwnerOnlyDelete(ctx context.Context, e *Env) error {
	client, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	e.Step("A's work outlives its key of %v; B takes the lock; then A unlocks with a plain DEL.", shortTTL)
	err = latecomer(ctx, e, client, true, func(ctx context.Context, a inventorylab.HandLock) (int64, error) { return a.Unlock(ctx) })
	if err != nil {
		return err
	}
	if err := lookThenDelete(ctx, e, client); err != nil {
		return err
	}
	e.Step("Compare and delete in one script: the key is deleted only if it still has A's value.")
	err = latecomer(ctx, e, client, false, func(ctx context.Context, a inventorylab.HandLock) (int64, error) {
		return client.Eval(ctx, compareAndDelete, []string{a.Key}, a.Value).Int64()
	})
	if err != nil {
		return err
	}
	return lateLease(ctx, e, client)
}

// latecomer lets A outlive its key, unlocks with the given function, and prints which clients then hold the lock.
func latecomer(ctx context.Context, e *Env, client *redis.Client, freesB bool, unlock func(context.Context, inventorylab.HandLock) (int64, error)) error {
	a := inventorylab.HandLock{Client: client, Key: e.Key("late"), Value: "A", TTL: shortTTL}
	if err := a.Lock(ctx); err != nil {
		return err
	}
	if err := otherHolder(a, "B").Lock(ctx); err != nil { // waits until A's key has expired
		return err
	}
	e.Show("A: SET NX PX   -> OK, works past the expiry")
	e.Show("B: SET NX PX   -> OK, after A's key expired; B holds the lock")
	deleted, err := unlock(ctx, a)
	if err != nil {
		return err
	}
	e.Show("A: unlock      -> %d key deleted", deleted)
	entered, err := otherHolder(a, "C").Try(ctx)
	if err != nil {
		return err
	}
	e.Show("C: SET NX PX   -> %s", map[bool]string{true: "OK, C holds the lock, and so does B", false: "nil, C must wait for B"}[entered])
	if freesB {
		e.Check(deleted == 1 && entered, "A freed B's lock: two clients hold it")
	} else {
		e.Check(deleted == 0 && !entered, "A could not free B's lock: only B holds it")
	}
	return client.Del(ctx, a.Key).Err()
}

// otherHolder returns the same lock for another holder, with a long expiry.
func otherHolder(l inventorylab.HandLock, value string) inventorylab.HandLock {
	l.Value, l.TTL = value, time.Minute
	return l
}

// lookThenDelete shows the incomplete cure: GET and DEL are two commands, and another client can take the key in
// between.
func lookThenDelete(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("GET first, then DEL: GET returns A's value, and the key expires before the DEL.")
	a := inventorylab.HandLock{Client: client, Key: e.Key("look"), Value: "A", TTL: shortTTL}
	if err := a.Lock(ctx); err != nil {
		return err
	}
	owner, err := client.Get(ctx, a.Key).Result()
	if err != nil {
		return err
	}
	e.Show("A: GET         -> %s, mine", owner)
	if err := otherHolder(a, "B").Lock(ctx); err != nil { // waits until A's key has expired
		return err
	}
	e.Show("B: SET NX PX   -> OK, after A's key expired; B holds the lock")
	deleted, err := a.Unlock(ctx)
	if err != nil {
		return err
	}
	e.Show("A: DEL         -> %d key deleted", deleted)
	e.Check(owner == "A" && deleted == 1, "A checked the value, but still freed B's lock")
	return nil
}

// lateLease shows the error that pkg/lock returns to a late holder.
func lateLease(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("pkg/lock: Release compares, and returns an error if A's lease had ended.")
	prefix := e.Key("leases:")
	locker, err := e.locker(ctx, prefix, lock.WithTTL(time.Minute))
	if err != nil {
		return err
	}
	a, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	// Same effect as an expiry, without waiting for it.
	if err := client.Del(ctx, lockName(prefix, "k")).Err(); err != nil {
		return err
	}
	b, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	late := a.Release(ctx)
	e.Show("A: Release     -> %v", late)
	held, err := client.Exists(ctx, lockName(prefix, "k")).Result()
	if err != nil {
		return err
	}
	e.Check(errors.Is(late, lock.ErrLost) && held == 1, "A learns that another client may have worked, and B keeps the lock")
	return b.Release(ctx)
}

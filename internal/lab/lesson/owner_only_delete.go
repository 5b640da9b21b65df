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
		Title: "who unlocks too late frees somebody else's lock",
		Run:   runOwnerOnlyDelete,
	}
}

// thiefTTL is short, so that a holder is soon late.
const thiefTTL = 300 * time.Millisecond

// compareAndDelete deletes the key only if it holds the value.
const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`

func runOwnerOnlyDelete(ctx context.Context, e *Env) error {
	client, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	e.Step("A's work outlives its key of %v; B takes the lock; then A unlocks with a plain DEL.", thiefTTL)
	err = latecomer(ctx, e, client, true, func(ctx context.Context, a inventorylab.HandLock) (int64, error) { return a.Unlock(ctx) })
	if err != nil {
		return err
	}
	if err := lookThenDelete(ctx, e, client); err != nil {
		return err
	}
	e.Step("Compare and delete in one script: the key goes only if it still has A's value.")
	err = latecomer(ctx, e, client, false, func(ctx context.Context, a inventorylab.HandLock) (int64, error) {
		return client.Eval(ctx, compareAndDelete, []string{a.Key}, a.Value).Int64()
	})
	if err != nil {
		return err
	}
	return lateLease(ctx, e, client)
}

// latecomer lets A be late, and says who is inside after A's unlock.
func latecomer(ctx context.Context, e *Env, client *redis.Client, theft bool, unlock func(context.Context, inventorylab.HandLock) (int64, error)) error {
	a := inventorylab.HandLock{Client: client, Key: e.Key("late"), Value: "A", TTL: thiefTTL}
	if err := a.Lock(ctx); err != nil {
		return err
	}
	if err := otherHolder(a, "B").Lock(ctx); err != nil { // waits until A's key has expired
		return err
	}
	e.Show("A: SET NX PX   -> OK, works on and on")
	e.Show("B: SET NX PX   -> OK, once A's key has expired; B is inside")
	deleted, err := unlock(ctx, a)
	if err != nil {
		return err
	}
	e.Show("A: unlock      -> %d key deleted", deleted)
	entered, err := otherHolder(a, "C").Try(ctx)
	if err != nil {
		return err
	}
	e.Show("C: SET NX PX   -> %s", map[bool]string{true: "OK, C is inside, and so is B", false: "nil, C must wait for B"}[entered])
	if theft {
		e.Check(deleted == 1 && entered, "A freed B's lock: two are inside")
	} else {
		e.Check(deleted == 0 && !entered, "A could not free what was not A's: B is alone")
	}
	return client.Del(ctx, a.Key).Err()
}

// otherHolder is the same lock in another holder's hands, for long.
func otherHolder(l inventorylab.HandLock, value string) inventorylab.HandLock {
	l.Value, l.TTL = value, time.Minute
	return l
}

// lookThenDelete is the half cure: the look and the deletion are two commands, and the key can change hands in between.
func lookThenDelete(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("Look first, then delete: GET says that the key is A's, and it expires before the DEL.")
	a := inventorylab.HandLock{Client: client, Key: e.Key("look"), Value: "A", TTL: thiefTTL}
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
	e.Show("B: SET NX PX   -> OK, once A's key has expired; B is inside")
	deleted, err := a.Unlock(ctx)
	if err != nil {
		return err
	}
	e.Show("A: DEL         -> %d key deleted", deleted)
	e.Check(owner == "A" && deleted == 1, "A looked, and freed B's lock all the same")
	return nil
}

// lateLease is what pkg/lock says to a holder who comes too late.
func lateLease(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("pkg/lock: the release compares, and says so when the lease was not A's to the end.")
	prefix := e.Key("leases:")
	locker, err := e.locker(ctx, prefix, lock.WithTTL(time.Minute))
	if err != nil {
		return err
	}
	a, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	// What an expiry does, without the wait for it.
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
	e.Check(errors.Is(late, lock.ErrLost) && held == 1, "A is told that somebody else may have worked, and B keeps the lock")
	return b.Release(ctx)
}

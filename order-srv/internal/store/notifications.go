package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
	"holdfast/pkg/webhook"
)

// notifyPaid writes the notification of an order that becomes PAID, if its buyer has a webhook. Call it in the
// transaction that makes the order PAID: a crash then comes before both or after both. The primary key makes writing
// one event twice impossible.
func notifyPaid(tx *gorm.DB, o order.Order) (written bool, err error) {
	res := tx.Exec(`INSERT INTO notifications (order_no, event, user_id, amount_cents, occurred_at, state, next_at, updated_at)
		SELECT ?, ?, user_id, ?, ?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) FROM webhooks WHERE user_id = ?
		ON DUPLICATE KEY UPDATE order_no = notifications.order_no`,
		o.OrderNo, webhook.TypePaid, o.AmountCents, o.PaidAt, order.NotificationPending, o.UserID)
	if res.Error != nil {
		return false, fmt.Errorf("write the notification of %s: %w", o.OrderNo, res.Error)
	}
	return res.RowsAffected > 0, nil
}

// WithNotify returns a store that calls notify, after the commit, when it has written a notification, and shares
// everything else with s. notify must be quick.
func (s *Store) WithNotify(notify func()) *Store {
	c := *s
	c.notify = notify
	return &c
}

// Addressee is a notification that is due, and whose.
type Addressee struct{ OrderNo, UserID string }

// DueNotifications returns up to limit notifications whose time has come, the oldest first, without those of the users
// in without. It locks nothing.
func (s *Store) DueNotifications(ctx context.Context, without []string, limit int) ([]Addressee, error) {
	where, args := "next_at <= UTC_TIMESTAMP(6)", []any{}
	if len(without) > 0 {
		where, args = where+" AND user_id NOT IN ?", append(args, without)
	}
	var found []Addressee
	err := s.db.WithContext(ctx).Raw("SELECT order_no, user_id FROM notifications FORCE INDEX (notifications_due) WHERE "+where+
		" ORDER BY next_at LIMIT ?", append(args, limit)...).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("look for due notifications: %w", database.Fault(err))
	}
	return found, nil
}

// Claim is a notification that was claimed for one attempt.
type Claim struct {
	order.Notification               // Attempts and Tries with this one
	Webhook            order.Webhook // zero: the user has none any more
	Interrupted        bool          // the attempt before was not recorded: its process died, or the database was away
}

// ClaimNotifications claims those of the orders' notifications whose time has come. For the time of lease no replica
// gets them again; a replica that dies loses its claims with the lease. Rows that another replica claims at this moment
// are left out.
func (s *Store) ClaimNotifications(ctx context.Context, orderNos []string, lease time.Duration) (claims []Claim, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		claims = nil
		found, err := notifications(tx, "FORCE INDEX (PRIMARY) WHERE order_no IN ? AND next_at <= UTC_TIMESTAMP(6) ORDER BY order_no FOR UPDATE SKIP LOCKED", orderNos)
		if err != nil || len(found) == 0 {
			return err
		}
		users := make([]string, len(found))
		for i, n := range found {
			users[i] = n.UserID
		}
		hooks, err := webhooks(tx, users)
		if err != nil {
			return err
		}
		for _, n := range found {
			c := Claim{Notification: n, Webhook: hooks[n.UserID], Interrupted: n.State == order.NotificationSending}
			c.Attempts, c.Tries = n.Attempts+1, n.Tries+1
			claims = append(claims, c)
			err := tx.Exec(`UPDATE notifications SET state = ?, attempts = attempts + 1, tries = tries + 1,
				next_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)), updated_at = UTC_TIMESTAMP(6) WHERE order_no = ? AND event = ?`,
				order.NotificationSending, lease.Microseconds(), n.OrderNo, n.Event).Error
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim notifications: %w", err)
	}
	return claims, nil
}

// Attempted is how an attempt has ended.
type Attempted struct {
	State   order.NotificationState // pending, delivered or given_up
	Pause   time.Duration           // until the next attempt, of one that is pending
	Status  int                     // of the answer; 0: there was none
	Failure string                  // "" when delivered
}

// EndAttempt records how the attempt of a claim has ended. A row that was claimed again since, or has left with its
// order, stays as it is. An attempt that followed an interrupted one is recorded as the notifier's healing.
func (s *Store) EndAttempt(ctx context.Context, c Claim, a Attempted) error {
	var pause sql.NullInt64
	if a.State == order.NotificationPending {
		pause = sql.NullInt64{Int64: a.Pause.Microseconds(), Valid: true}
	}
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		res := tx.Exec(`UPDATE notifications SET state = ?, next_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)), last_status = ?, failure = ?,
			updated_at = UTC_TIMESTAMP(6) WHERE order_no = ? AND event = ? AND state = ? AND attempts = ?`,
			a.State, pause, a.Status, database.Clip(a.Failure, 255), c.OrderNo, c.Event, order.NotificationSending, c.Attempts)
		if res.Error != nil || res.RowsAffected == 0 || !c.Interrupted {
			return res.Error
		}
		_, err := heal(tx, Notifier, actionNotified, c.OrderNo)
		return err
	})
	if err != nil {
		return fmt.Errorf("record the attempt to notify of %s: %w", c.OrderNo, err)
	}
	return nil
}

// Notifications returns the notifications of an order of the user; none when the order is archived, with which they
// have left. order.ErrNotFound when the order is not the user's.
func (s *Store) Notifications(ctx context.Context, userID, orderNo string) ([]order.Notification, error) {
	if _, err := s.Get(ctx, userID, orderNo); err != nil {
		return nil, err
	}
	found, err := notifications(s.db.WithContext(ctx), "WHERE order_no = ? AND user_id = ? ORDER BY event", orderNo, userID)
	return found, database.Fault(err)
}

// Resend has a notification of the user sent again, as if it were new: also one that was delivered or given up.
// While an attempt goes on, nothing changes: that attempt is it. order.ErrUnknownNotification, and
// order.ErrUnknownWebhook when there is nowhere to send it.
func (s *Store) Resend(ctx context.Context, userID, orderNo, event string) (order.Notification, error) {
	if _, err := s.Webhook(ctx, userID); err != nil {
		return order.Notification{}, err
	}
	_, err := database.Exec(ctx, s.db, `UPDATE notifications SET state = ?, tries = 0, next_at = UTC_TIMESTAMP(6), updated_at = UTC_TIMESTAMP(6)
		WHERE order_no = ? AND event = ? AND user_id = ? AND (state <> ? OR next_at <= UTC_TIMESTAMP(6))`,
		order.NotificationPending, orderNo, event, userID, order.NotificationSending)
	if err != nil {
		return order.Notification{}, fmt.Errorf("have a notification sent again: %w", err)
	}
	found, err := notifications(s.db.WithContext(ctx), "WHERE order_no = ? AND event = ? AND user_id = ?", orderNo, event, userID)
	switch {
	case err != nil:
		return order.Notification{}, database.Fault(err)
	case len(found) == 0:
		return order.Notification{}, order.ErrUnknownNotification
	}
	s.notified()
	return found[0], nil
}

// OldestNotification returns for how long the oldest due notification has been due; 0 without any.
func (s *Store) OldestNotification(ctx context.Context) (time.Duration, error) {
	var micros int64
	err := s.db.WithContext(ctx).Raw(`SELECT COALESCE(TIMESTAMPDIFF(MICROSECOND, MIN(next_at), UTC_TIMESTAMP(6)), 0)
		FROM notifications FORCE INDEX (notifications_due) WHERE next_at <= UTC_TIMESTAMP(6)`).Row().Scan(&micros)
	if err != nil {
		return 0, fmt.Errorf("read the oldest due notification: %w", database.Fault(err))
	}
	return time.Duration(micros) * time.Microsecond, nil
}

// NotificationCounts are how many notifications have not been delivered.
type NotificationCounts struct {
	Pending int           // to be sent, or being sent
	Failing int           // of those: the last attempt has failed
	Oldest  time.Duration // of those that are pending: since the oldest was written
	GivenUp int
}

// CountNotifications counts the notifications that have not been delivered.
func (s *Store) CountNotifications(ctx context.Context) (c NotificationCounts, err error) {
	var micros int64
	// failure is of the last attempt that was recorded, also while another one is under way.
	err = s.db.WithContext(ctx).Raw(`SELECT COUNT(*), COALESCE(SUM(failure <> ''), 0),
		COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, occurred_at, UTC_TIMESTAMP(6))), 0)
		FROM notifications FORCE INDEX (notifications_due) WHERE next_at IS NOT NULL`).Row().Scan(&c.Pending, &c.Failing, &micros)
	if err == nil {
		err = s.db.WithContext(ctx).Raw("SELECT COUNT(*) FROM notifications FORCE INDEX (notifications_given_up) WHERE given_up = 1").Row().Scan(&c.GivenUp)
	}
	if err != nil {
		return NotificationCounts{}, fmt.Errorf("count notifications: %w", database.Fault(err))
	}
	c.Oldest = max(0, time.Duration(micros)*time.Microsecond)
	return c, nil
}

// notified calls notify.
func (s *Store) notified() {
	if s.notify != nil {
		s.notify()
	}
}

// notifications reads notifications; rest is what follows the table in the statement.
func notifications(db *gorm.DB, rest string, args ...any) ([]order.Notification, error) {
	var rows []struct {
		OrderNo, Event, UserID      string
		AmountCents                 int64
		OccurredAt, UpdatedAt       time.Time
		State                       order.NotificationState
		Attempts, Tries, LastStatus int
		NextAt                      sql.NullTime
		Failure                     string
	}
	err := db.Raw(`SELECT order_no, event, user_id, amount_cents, occurred_at, state, attempts, tries, next_at, last_status, failure, updated_at
		FROM notifications `+rest, args...).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read notifications: %w", err)
	}
	found := make([]order.Notification, len(rows))
	for i, r := range rows {
		found[i] = order.Notification{
			OrderNo: r.OrderNo, Event: r.Event, UserID: r.UserID, AmountCents: r.AmountCents, OccurredAt: r.OccurredAt, State: r.State,
			Attempts: r.Attempts, Tries: r.Tries, NextAt: r.NextAt.Time, LastStatus: r.LastStatus, Failure: r.Failure, UpdatedAt: r.UpdatedAt,
		}
	}
	return found, nil
}

package order

import (
	"regexp"
	"strings"
	"time"

	"holdfast/pkg/fault"
)

// NotificationState is what has become of a notification.
type NotificationState string

// A notification is Pending until an attempt claims it, and again between attempts.
const (
	NotificationPending   NotificationState = "pending"
	NotificationSending   NotificationState = "sending"
	NotificationDelivered NotificationState = "delivered"
	NotificationGivenUp   NotificationState = "given_up"
)

// Webhook is where a buyer is notified.
type Webhook struct {
	UserID    string
	URL       string
	Secret    string // signs the notifications
	UpdatedAt time.Time
}

// Notification tells a buyer's webhook that something happened to an order.
type Notification struct {
	OrderNo     string
	Event       string // order.paid
	UserID      string
	AmountCents int64
	OccurredAt  time.Time
	State       NotificationState
	Attempts    int // of all time
	Tries       int // since the notification was written, or was last to be sent again
	NextAt      time.Time
	LastStatus  int    // of the last answer; 0: there was none
	Failure     string // of the last attempt
	UpdatedAt   time.Time
}

// ID is the id of the event, the same in each attempt.
func (n Notification) ID() string { return n.OrderNo + ":" + n.Event }

// What can be wrong with a webhook or a notification.
var (
	ErrUnknownWebhook      = fault.New(fault.NotFound, "unknown_webhook", "you have no webhook; set one with PUT /v1/webhook")
	ErrInvalidWebhook      = fault.New(fault.Invalid, "invalid_webhook", "a webhook is an absolute https URL of at most 1,024 ASCII characters, without user and fragment")
	ErrWebhookRefused      = fault.New(fault.Invalid, "webhook_refused", "the webhook's address is not one that may be called")
	ErrUnknownNotification = fault.New(fault.NotFound, "unknown_notification", "the order has no such notification")
)

var notificationPattern = regexp.MustCompile(`^[0-9A-Z]{1,26}:[a-z._]{1,32}$`)

// CheckNotification returns ErrUnknownNotification for what cannot be the id of a notification of the order.
func CheckNotification(orderNo, id string) error {
	if !notificationPattern.MatchString(id) || !strings.HasPrefix(id, orderNo+":") {
		return ErrUnknownNotification
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"holdfast/internal/lab/shop"
	"holdfast/order-srv/orderapi"
)

// dlqTime bounds a dlq command. Sending a message again takes milliseconds.
const dlqTime = time.Minute

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List messages that the relay parked or a consumer gave up."`
	Resend dlqResendCmd `cmd:"" help:"Send these messages again, oldest first."`
}

type dlqListCmd struct {
	Limit int `help:"Maximum number of messages, 1 to 1000." default:"100"`
}

// Run prints the dead letters.
func (l *dlqListCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, dlqTime)
	defer cancel()
	admin, err := shop.Login(ctx, c.URL, "operator", orderapi.RoleAdmin)
	if err != nil {
		return explain(ctx, c.Dir, err)
	}
	var found orderapi.DeadLetters
	path := "/v1/admin/dead-letters?" + url.Values{"limit": {strconv.Itoa(l.Limit)}}.Encode()
	if err := admin.Do(ctx, http.MethodGet, path, nil, &found); err != nil {
		return explain(ctx, c.Dir, err)
	}
	if len(found.DeadLetters) == 0 {
		fmt.Fprintln(stdout, "no message was given up")
		return nil
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tGIVEN UP\tTOPIC\tKEY\tREASON\tBODY")
	for _, d := range found.DeadLetters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Source, d.At.Local().Format(time.DateTime), d.Topic, d.Key, d.Reason, d.Body)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(found.DeadLetters) == l.Limit {
		fmt.Fprintln(stdout, "there may be more messages; raise --limit")
	}
	return nil
}

type dlqResendCmd struct {
	Source string `help:"Only messages of this source: outbox, inventory-outbox, or a consumer group as shown by list."`
	Limit  int    `help:"Maximum number of messages, 1 to 1000." default:"100"`
}

// Run sends dead letters again.
func (r *dlqResendCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, dlqTime)
	defer cancel()
	admin, err := shop.Login(ctx, c.URL, "operator", orderapi.RoleAdmin)
	if err != nil {
		return explain(ctx, c.Dir, err)
	}
	var done orderapi.ResendResponse
	in := orderapi.ResendRequest{Source: r.Source, Limit: r.Limit}
	if err := admin.Do(ctx, http.MethodPost, "/v1/admin/dead-letters/resend", in, &done); err != nil {
		return explain(ctx, c.Dir, err)
	}
	fmt.Fprintf(stdout, "%d messages sent again\n", done.Resent)
	return nil
}

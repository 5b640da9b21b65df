// Package httpapi is the wallet's HTTP side: it decodes, calls one method and renders. walletapi is its contract. All
// routes are internal: the gateway serves users, and order-srv places orders.
package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/web"
)

// Wallets is what the routes need of the store.
type Wallets interface {
	Freeze(ctx context.Context, r walletapi.FreezeRequest) error
	Confirm(ctx context.Context, orderNo string) error
	Cancel(ctx context.Context, orderNo string, r walletapi.CancelRequest) error
	Refund(ctx context.Context, orderNo string) error
	States(ctx context.Context, orderNos []string) ([]walletapi.Freeze, error)
	Frozen(ctx context.Context, after string, limit int) ([]walletapi.Freeze, error)
	Wallet(ctx context.Context, userID string) (walletapi.Wallet, error)
	Entries(ctx context.Context, userID string, before int64, limit int) ([]walletapi.Entry, error)
	Credit(ctx context.Context, userID string, r walletapi.CreditRequest) (walletapi.Wallet, error)
	Balances(ctx context.Context, after string, limit int) ([]walletapi.Balance, error)
}

type api struct{ wallets Wallets }

var (
	errInvalidCursor = fault.New(fault.Invalid, "invalid_parameter", "cursor is not one that a page named").With("parameter", "cursor")
	errInvalidStates = fault.New(fault.Invalid, "invalid_states", "a call has 1 to 1000 order numbers")
)

// New returns the wallet's handler.
func New(engine web.EngineConfig, wallets Wallets) http.Handler {
	a := &api{wallets: wallets}
	e := web.NewEngine(engine)
	v1 := e.Group("/v1")
	v1.POST("/freezes", web.Handle(a.freeze))
	v1.GET("/freezes", web.Handle(a.frozen))
	v1.POST("/freezes/states", web.Handle(a.states))
	v1.POST("/freezes/:order_no/confirmation", web.Handle(a.confirm))
	v1.POST("/freezes/:order_no/cancellation", web.Handle(a.cancel))
	v1.POST("/freezes/:order_no/refund", web.Handle(a.refund))
	v1.GET("/wallets/:user", web.Handle(a.wallet))
	v1.GET("/wallets/:user/entries", web.Handle(a.entries))
	v1.POST("/wallets/:user/credits", web.Handle(a.credit))
	v1.GET("/audit", web.Handle(a.balances))
	return e
}

// check returns a fault for what cannot be the freeze of an order.
func check(orderNo, userID string, amountCents int64) error {
	if err := order.CheckUser(userID); err != nil {
		return err
	}
	if order.CheckNumber(orderNo) != nil || amountCents < 0 || amountCents > walletapi.MaxAmountCents {
		return walletapi.ErrInvalidFreeze
	}
	return nil
}

func (a *api) freeze(c *gin.Context) (int, any, error) {
	var r walletapi.FreezeRequest
	if err := web.Decode(c, &r); err != nil {
		return 0, nil, err
	}
	if err := check(r.OrderNo, r.UserID, r.AmountCents); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, a.wallets.Freeze(c.Request.Context(), r)
}

func (a *api) confirm(c *gin.Context) (int, any, error) { return end(c, a.wallets.Confirm) }

func (a *api) refund(c *gin.Context) (int, any, error) { return end(c, a.wallets.Refund) }

func end(c *gin.Context, do func(ctx context.Context, orderNo string) error) (int, any, error) {
	orderNo := c.Param("order_no")
	if order.CheckNumber(orderNo) != nil {
		return 0, nil, walletapi.ErrInvalidFreeze
	}
	return http.StatusNoContent, nil, do(c.Request.Context(), orderNo)
}

func (a *api) cancel(c *gin.Context) (int, any, error) {
	var r walletapi.CancelRequest
	if err := web.Decode(c, &r); err != nil {
		return 0, nil, err
	}
	orderNo := c.Param("order_no")
	if err := check(orderNo, r.UserID, r.AmountCents); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, a.wallets.Cancel(c.Request.Context(), orderNo, r)
}

func (a *api) states(c *gin.Context) (int, any, error) {
	var r walletapi.StatesRequest
	if err := web.Decode(c, &r); err != nil {
		return 0, nil, err
	}
	if len(r.OrderNos) < 1 || len(r.OrderNos) > walletapi.MaxStates {
		return 0, nil, errInvalidStates
	}
	found, err := a.wallets.States(c.Request.Context(), r.OrderNos)
	return http.StatusOK, walletapi.StatesResponse{Freezes: found}, err
}

func (a *api) frozen(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", walletapi.MaxPage, 1, walletapi.MaxPage)
	if err != nil {
		return 0, nil, err
	}
	found, err := a.wallets.Frozen(c.Request.Context(), c.Query("after"), limit)
	page := walletapi.FreezePage{Freezes: found}
	if len(found) == limit {
		page.After = found[limit-1].OrderNo
	}
	return http.StatusOK, page, err
}

func (a *api) wallet(c *gin.Context) (int, any, error) {
	user := c.Param("user")
	if err := order.CheckUser(user); err != nil {
		return 0, nil, err
	}
	w, err := a.wallets.Wallet(c.Request.Context(), user)
	return http.StatusOK, w, err
}

func (a *api) entries(c *gin.Context) (int, any, error) {
	user := c.Param("user")
	if err := order.CheckUser(user); err != nil {
		return 0, nil, err
	}
	limit, err := web.QueryInt(c, "limit", 20, 1, 100)
	if err != nil {
		return 0, nil, err
	}
	before := int64(0)
	if cursor := c.Query("cursor"); cursor != "" {
		if before, err = strconv.ParseInt(cursor, 10, 64); err != nil || before < 1 {
			return 0, nil, errInvalidCursor
		}
	}
	// One more than asked for tells whether there is a next page.
	found, err := a.wallets.Entries(c.Request.Context(), user, before, limit+1)
	page := walletapi.EntryPage{Entries: []walletapi.Entry{}}
	if len(found) > limit {
		found = found[:limit]
		page.NextCursor = strconv.FormatInt(found[limit-1].ID, 10)
	}
	page.Entries = append(page.Entries, found...)
	return http.StatusOK, page, err
}

func (a *api) credit(c *gin.Context) (int, any, error) {
	var r walletapi.CreditRequest
	if err := web.Decode(c, &r); err != nil {
		return 0, nil, err
	}
	user := c.Param("user")
	if err := order.CheckUser(user); err != nil {
		return 0, nil, err
	}
	if r.AmountCents < 1 || r.AmountCents > walletapi.MaxAmountCents || len(r.Reference) > walletapi.MaxReference || order.CheckKey(r.Reference) != nil {
		return 0, nil, walletapi.ErrInvalidCredit
	}
	w, err := a.wallets.Credit(c.Request.Context(), user, r)
	return http.StatusOK, w, err
}

func (a *api) balances(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", walletapi.MaxPage, 1, walletapi.MaxPage)
	if err != nil {
		return 0, nil, err
	}
	found, err := a.wallets.Balances(c.Request.Context(), c.Query("after"), limit)
	page := walletapi.BalancePage{Balances: found}
	if len(found) == limit {
		page.After = found[limit-1].UserID
	}
	return http.StatusOK, page, err
}

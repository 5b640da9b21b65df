package gateway

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/web"
)

// ownWallet answers with the caller's balance.
func (g *gateway) ownWallet(c *gin.Context) (int, any, error) {
	w, err := g.wallet.Wallet(c.Request.Context(), callerOf(c).User)
	return http.StatusOK, w, err
}

// walletEntries answers with a page of the caller's entries, newest first.
func (g *gateway) walletEntries(c *gin.Context) (int, any, error) {
	limit, err := web.QueryInt(c, "limit", defaultPage, 1, maxPage)
	if err != nil {
		return 0, nil, err
	}
	page, err := g.wallet.Entries(c.Request.Context(), callerOf(c).User, c.Query("cursor"), limit)
	return http.StatusOK, page, err
}

// creditWallet adds money to a user's wallet, once for each reference.
func (g *gateway) creditWallet(c *gin.Context) (int, any, error) {
	user := c.Param("user")
	if err := orderapi.CheckUser(user); err != nil { // it becomes part of an internal path
		return 0, nil, err
	}
	var in walletapi.CreditRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	w, err := g.wallet.Credit(c.Request.Context(), user, in)
	return http.StatusOK, w, err
}

package shop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/shop"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
)

// gateway answers logins with the token "t", and other requests with status and body. It returns what it received.
func gateway(t *testing.T, status int, body string) (url string, received *[]string) {
	t.Helper()
	received = &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*received = append(*received, fmt.Sprintf("%s %s %s type=%q auth=%q key=%q", r.Method, r.URL, in,
			r.Header.Get("Content-Type"), r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key")))
		if r.URL.Path == "/v1/login" {
			fmt.Fprint(w, `{"token":"t"}`)
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL, received
}

func login(t *testing.T, url string) *shop.Client {
	t.Helper()
	c, err := shop.Login(t.Context(), url, "ann", "buyer")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClient_requests(t *testing.T) {
	t.Parallel()
	url, received := gateway(t, http.StatusAccepted, `{"order_no":"01"}`)
	c := login(t, url)
	var placed struct {
		OrderNo string `json:"order_no"`
	}
	if err := c.Do(t.Context(), "POST", "/v1/orders", map[string]int{"n": 1}, &placed, "Idempotency-Key", "k"); err != nil || placed.OrderNo != "01" {
		t.Errorf("placed %q: %v", placed.OrderNo, err)
	}
	if err := c.Do(t.Context(), "GET", "/v1/orders/01", nil, nil); err != nil {
		t.Error(err)
	}
	want := []string{
		`POST /v1/login {"role":"buyer","user":"ann"} type="application/json" auth="" key=""`,
		`POST /v1/orders {"n":1} type="application/json" auth="Bearer t" key="k"`,
		`GET /v1/orders/01  type="" auth="Bearer t" key=""`,
	}
	if diff := cmp.Diff(want, *received); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestClient_Audit(t *testing.T) {
	t.Parallel()
	want := check.Report{Orders: map[string]int{"PAID": 2}}
	body, err := json.Marshal(orderapi.AuditJob{ID: "1", State: orderapi.AuditDone, Report: &want})
	if err != nil {
		t.Fatal(err)
	}
	url, _ := gateway(t, http.StatusOK, string(body))
	got, err := login(t, url).Audit(t.Context(), false, nil)
	if err != nil || got.Orders["PAID"] != 2 {
		t.Errorf("report %+v: %v", got, err)
	}
}

func TestClient_Do_problem(t *testing.T) {
	t.Parallel()
	url, _ := gateway(t, http.StatusConflict, `{"code":"out_of_stock","kind":"conflict","detail":"sold out"}`)
	err := login(t, url).Do(t.Context(), "POST", "/v1/orders", nil, nil)
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != "out_of_stock" || err.Error() != "out_of_stock: sold out" {
		t.Errorf("error %v, want the fault out_of_stock", err)
	}
}

// A proxy's answer is no problem of the gateway.
func TestClient_Do_otherAnswers(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"<html>bad gateway</html>", "{}", ""} {
		url, _ := gateway(t, http.StatusBadGateway, body)
		err := login(t, url).Do(t.Context(), "GET", "/v1/products", nil, nil)
		if err == nil || err.Error() != "GET /v1/products: 502 Bad Gateway" {
			t.Errorf("%q is the error %v", body, err)
		}
	}
	url, _ := gateway(t, http.StatusOK, "<html>login page</html>")
	var out map[string]any
	if err := login(t, url).Do(t.Context(), "GET", "/v1/products", nil, &out); err == nil {
		t.Error("an answer that is not JSON is no error")
	}
}

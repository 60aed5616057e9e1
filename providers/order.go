package providers

import (
	"context"
	"errors"
)

// Resumer is a Provider whose calls order something that takes its time, such as a film,
// and look at it until it is made.
type Resumer interface {
	// Resume goes on with what was ordered under a handle: it orders nothing, and costs
	// nothing more. It fails as Generate does.
	Resume(ctx context.Context, req Request, handle string) (Response, error)
}

// errNoResumer refuses to go on with an order.
var errNoResumer = errors.New("it goes on with no orders: was its kind changed?")

// Resume goes on with what was ordered from p under a handle. Where p is no Resumer it
// fails with an *Error of unknown billing.
func Resume(ctx context.Context, p Provider, req Request, handle string) (Response, error) {
	r, ok := p.(Resumer)
	if !ok {
		return Response{}, &Error{Provider: p.Name(), Kind: NotFound, Billing: BillingUnknown, Err: errNoResumer}
	}
	return r.Resume(ctx, req, handle)
}

// Orders is told of the handle of an order as soon as it is known, and of its end, with
// an empty handle, where it failed for good. An error means that it is not written down.
type Orders func(ctx context.Context, handle string) error

// maxHandle is the longest handle that is told, in bytes.
const maxHandle = 512

type ordersKey struct{}

// WithOrders returns a context under which Ordered tells orders.
func WithOrders(ctx context.Context, orders Orders) context.Context {
	return context.WithValue(ctx, ordersKey{}, orders)
}

// MapOrders returns a context under which handles are changed before they are told.
func MapOrders(ctx context.Context, change func(handle string) string) context.Context {
	orders, ok := ctx.Value(ordersKey{}).(Orders)
	if !ok {
		return ctx
	}
	return WithOrders(ctx, func(ctx context.Context, handle string) error { return orders(ctx, change(handle)) })
}

// Ordered tells the handle of an order to whoever made the call, if anybody wants to know.
// One of more than 512 bytes is not told: nobody can go on with that order.
func Ordered(ctx context.Context, handle string) {
	if len(handle) > maxHandle {
		return
	}
	if orders, ok := ctx.Value(ordersKey{}).(Orders); ok {
		_ = orders(context.WithoutCancel(ctx), handle) // the film is made all the same
	}
}

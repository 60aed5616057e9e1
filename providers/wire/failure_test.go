package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"oneflow/providers"
	"oneflow/providers/wire"
)

func TestAFailureIsToldByItsCauseAndWhetherItWasSent(t *testing.T) {
	t.Parallel()
	wrap := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://user:canary@host/canary?key=canary", Err: err}
	}
	op := func(name string, err error) error { return &net.OpError{Op: name, Net: "tcp", Err: err} }
	for name, c := range map[string]struct {
		err     error
		sent    bool
		kind    providers.Kind
		billing providers.Billing
		shown   string
	}{
		"refused":               {op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED)), true, providers.Connection, free, "connection refused"},
		"no such host":          {&net.DNSError{Err: "no such host", Name: "h"}, true, providers.Connection, free, "no such host"},
		"dial timeout":          {op("dial", os.ErrDeadlineExceeded), false, providers.Timeout, free, "timeout"},
		"reset after sending":   {op("read", os.NewSyscallError("read", syscall.ECONNRESET)), true, providers.Connection, unknown, "connection reset"},
		"reset before sending":  {op("write", os.NewSyscallError("write", syscall.ECONNRESET)), false, providers.Connection, free, "connection reset"},
		"EOF":                   {io.EOF, true, providers.Connection, unknown, "EOF"},
		"unexpected EOF":        {io.ErrUnexpectedEOF, true, providers.Connection, unknown, "unexpected EOF"},
		"deadline":              {context.DeadlineExceeded, true, providers.Timeout, unknown, "deadline"},
		"deadline, unsent":      {context.DeadlineExceeded, false, providers.Timeout, free, "deadline"},
		"cancelled":             {fmt.Errorf("canary: %w", context.Canceled), true, providers.Cancelled, unknown, "canceled"},
		"cancelled, unsent":     {context.Canceled, false, providers.Cancelled, free, "canceled"},
		"not repeated":          {wire.ErrNotRepeated, true, providers.Connection, unknown, "not repeated"},
		"truncated":             {wire.ErrTruncated, true, providers.MalformedResponse, unknown, "broke off"},
		"too large":             {wire.ErrTooLarge, true, providers.MalformedResponse, unknown, "too large"},
		"redirect":              {&wire.StatusError{Status: 302}, true, providers.NotFound, free, "HTTP 302"},
		"guarded":               {op("dial", &wire.RefusedError{Reason: "private"}), true, providers.Connection, free, "private"},
		"something of a server": {errors.New("malformed HTTP response \"canary\""), true, providers.Connection, unknown, ""},
		"inside a net.OpError":  {op("read", errors.New("canary")), true, providers.Connection, unknown, ""},
	} {
		e := wire.Failure("mine", wrap(c.err), c.sent)
		if e.Kind != c.kind || e.Billing != c.billing || e.Provider != "mine" {
			t.Errorf("%s: got %s, %s", name, e.Kind, e.Billing)
		}
		if strings.Contains(e.Error(), "canary") || !strings.Contains(e.Error(), c.shown) || (e.Err == nil) != (c.shown == "") {
			t.Errorf("%s: text %q", name, e.Error())
		}
	}
}

func TestAFailureThatIsOneAlreadyStaysAsItIs(t *testing.T) {
	t.Parallel()
	e := &providers.Error{Provider: "mine", Kind: providers.Moderated}
	if got := wire.Failure("other", fmt.Errorf("x: %w", e), true); got != e {
		t.Errorf("got %v", got)
	}
}

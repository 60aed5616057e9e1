package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"oneflow/providers"
)

// asFailure says what a call means that brought no usable answer: err is what the
// transport or readBody returned, sent reports whether some of the request may have
// reached the server (see do and watchSent).
//
// What was certainly not sent is not billed: a refused connection, a name that
// does not resolve, a failed TLS handshake. Of anything else nobody knows. The
// error keeps the cause only where its text holds nothing of the request: a
// *url.Error, whose text is the address, is taken off.
func asFailure(provider string, err error, sent bool) *providers.Error {
	if e, ok := errors.AsType[*providers.Error](err); ok {
		return e
	}
	sent = sent && !neverSent(err)
	f := &providers.Error{
		Provider: provider,
		Kind:     failureKind(err),
		Billing:  providers.Unbilled,
		Sent:     sent,
		Err:      presentable(err),
	}
	if sent {
		f.Billing = providers.BillingUnknown
	}
	if proxy, ok := errors.AsType[*proxyError](err); ok {
		if proxy.Status == http.StatusForbidden || proxy.Status == http.StatusProxyAuthRequired {
			f.Kind = providers.AccessDenied // a person must mend the proxy's settings
		}
	}
	if status, ok := errors.AsType[*StatusError](err); ok {
		// A redirect: a server that sends us elsewhere has not done the work.
		f.Kind, f.Billing, f.Status, f.Sent = providers.NotFound, providers.Unbilled, status.Status, true
	}
	return f
}

func failureKind(err error) providers.Kind {
	if answer, ok := errors.AsType[AnswerError](err); ok {
		if answer == ErrIdle {
			return providers.Timeout
		}
		if answer == ErrNotRepeated {
			return providers.Connection
		}
		return providers.MalformedResponse
	}
	switch {
	case errors.Is(err, context.Canceled):
		return providers.Cancelled
	case isTimeout(err):
		return providers.Timeout
	default:
		return providers.Connection
	}
}

// neverSent reports whether err arose before a request could be written.
func neverSent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*proxyError](err); ok {
		return true
	}
	_, refused := errors.AsType[*RefusedError](err)
	return refused
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// presentable returns the part of err whose text is certain to hold nothing of a
// request or an answer, or nil. It takes what it knows, rather than leaving out
// what it knows to be dangerous: net/http quotes a malformed answer in its errors.
func presentable(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known
		}
	}
	if e, ok := errors.AsType[AnswerError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*proxyError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && networkOnly(e.Err) {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	if e, ok := errors.AsType[tls.AlertError](err); ok {
		return e
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	if isTimeout(err) {
		return os.ErrDeadlineExceeded
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.ErrUnexpectedEOF
	}
	// net/http knows an idle connection that closes under a request by an error
	// of no exported type.
	if errors.Is(err, io.EOF) || strings.HasSuffix(err.Error(), "server closed idle connection") {
		return io.EOF
	}
	return nil
}

// networkOnly reports whether the cause inside a net.OpError is the system's or the
// resolver's, so that its text is theirs too.
func networkOnly(err error) bool {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.AddrError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	return isTimeout(err) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

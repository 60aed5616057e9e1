package providertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// Fake is a fake of a vendor's server that fails on demand, such as
// *fakeprovider.Server. F is its type of faults.
type Fake[F ~string] interface {
	http.Handler
	io.Closer
	// Next makes the next n calls fail, all if n is negative.
	Next(fault F, n int)
}

// Service returns a Config.New for a provider that calls a server: a fake that
// newFake makes of the zero config, such as fakeprovider.New. connect makes the provider for
// the server at url.
func Service[F ~string, S Fake[F], C any](
	newFake func(config C) (S, error), connect func(url string, client *http.Client) (providers.Provider, error),
) func(t *testing.T, fault Fault) Subject {
	return func(t *testing.T, fault Fault) Subject {
		t.Helper()
		fake, err := newFake(*new(C))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = fake.Close() })
		if fault != None && fault != Echo {
			fake.Next(F(fault), -1)
		}
		var calls atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				calls.Add(1)
			}
			if fault == Echo {
				echo(w, r)
				return
			}
			fake.ServeHTTP(w, r)
		}))
		client := wire.NewClient(wire.Config{})
		t.Cleanup(server.Close)
		t.Cleanup(client.CloseIdleConnections)
		provider, err := connect(server.URL, client)
		if err != nil {
			t.Fatal(err)
		}
		return Subject{Provider: provider, Calls: func() int { return int(calls.Load()) }, Close: client.CloseIdleConnections}
	}
}

// echo refuses a request and repeats it wherever a vendor may say something.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	var said bytes.Buffer
	said.Write(body)
	if err := r.Header.Write(&said); err != nil {
		return
	}
	detail := map[string]any{"type": said.String(), "code": prompt + Key, "status": prompt + Key, "message": said.String()}
	answer, err := json.Marshal(map[string]any{
		"error": detail, "detail": detail, "name": said.String(), "errors": []string{said.String()}, "request_id": prompt + Key, "id": prompt + Key,
	})
	if err != nil {
		return
	}
	for _, name := range []string{"Request-Id", "X-Request-Id", "Finish-Reason"} {
		w.Header().Set(name, prompt+" "+Key)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(answer)
}

// Generate makes a call that must succeed.
func Generate(t *testing.T, p providers.Provider, req providers.Request) providers.Response {
	t.Helper()
	res, err := p.Generate(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// Fail makes a call that must fail, and returns the failure. Its text must show none of hidden:
// the key, and the prompt.
func Fail(t *testing.T, p providers.Provider, req providers.Request, hidden ...string) *providers.Error {
	t.Helper()
	_, err := p.Generate(t.Context(), req)
	e, ok := errors.AsType[*providers.Error](err)
	if !ok {
		t.Fatalf("Generate() error = %T %v, want a *providers.Error", err, err)
	}
	for _, text := range hidden {
		if strings.Contains(e.Error(), text) {
			t.Errorf("error text %q holds %q", e.Error(), text)
		}
	}
	if e.Provider != p.Name() {
		t.Errorf("error names provider %q, want %q", e.Provider, p.Name())
	}
	return e
}

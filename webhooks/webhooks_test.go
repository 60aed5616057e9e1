package webhooks_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"oneflow/webhooks"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// memory is a store of events.
type memory struct {
	mu     sync.Mutex
	events []webhooks.Event
	tries  map[uuid.UUID][]webhooks.Try
	held   string
}

func (m *memory) add(url, payload string) uuid.UUID {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := uuid.New()
	m.events = append(m.events, webhooks.Event{ID: id, URL: url, Type: "batch.finished", Payload: payload})
	return id
}

func (m *memory) DueWebhooks(_ context.Context, without []string, perURL, limit int, lease time.Duration) (due []webhooks.Event, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := map[string]int{}
	for _, address := range without {
		of[address] = perURL
	}
	for i, e := range m.events {
		if e.EndedAt.IsZero() && !e.TryAt.After(time.Now()) && of[e.URL] < perURL && len(due) < limit*perURL {
			of[e.URL]++
			m.events[i].TryAt = time.Now().Add(lease)
			due = append(due, e)
		}
	}
	return due, nil
}

func (m *memory) EndWebhookTry(_ context.Context, id uuid.UUID, t webhooks.Try) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tries == nil {
		m.tries = map[uuid.UUID][]webhooks.Try{}
	}
	m.tries[id] = append(m.tries[id], t)
	for i := range m.events {
		if e := &m.events[i]; e.ID == id {
			e.Tries++
			e.TryAt = time.Now().Add(t.Again)
			if t.Delivered || t.Again == 0 {
				e.EndedAt = time.Now()
			}
		}
	}
	return nil
}

func (m *memory) HoldWebhooks(_ context.Context, why string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = why
	return int64(len(m.events)), nil
}

func (m *memory) of(id uuid.UUID) []webhooks.Try {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tries[id]
}

func host(server *httptest.Server) string { return strings.TrimPrefix(server.URL, "http://") }

func sender(m *memory, secrets string, allow ...string) *webhooks.Sender {
	return webhooks.NewSender(webhooks.Config{Store: m, Allow: allow, Agent: "test", Secrets: func() ([]webhooks.Secret, error) { return webhooks.ParseSecrets(secrets) }})
}

// The example of the specification's own libraries.
func TestTheSignatureIsTheOneOfStandardWebhooks(t *testing.T) {
	t.Parallel()
	secrets, err := webhooks.ParseSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	got := webhooks.Signature(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), `{"test": 2432232314}`)
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAReceiverCanCheckWhatItGetsWithEitherOfTwoSecrets(t *testing.T) {
	t.Parallel()
	const other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	got := make(chan error, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			got <- err
			return
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(other, "whsec_"))
		if err != nil {
			got <- err
			return
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
		want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		seconds, _ := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64)
		switch {
		case !strings.Contains(" "+r.Header.Get("webhook-signature")+" ", " "+want+" "):
			err = fmt.Errorf("signatures %q have no %s", r.Header.Get("webhook-signature"), want)
		case time.Since(time.Unix(seconds, 0)).Abs() > time.Minute:
			err = fmt.Errorf("timestamp %d", seconds)
		case string(body) != `{"n":1}`:
			err = fmt.Errorf("body %s", body)
		}
		got <- err
	}))
	defer receiver.Close()
	m := &memory{}
	id := m.add(receiver.URL+"/hooks", `{"n":1}`)
	if err := sender(m, secret+"\n"+other, host(receiver)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if tries := m.of(id); len(tries) != 1 || !tries[0].Delivered {
		t.Errorf("%+v", tries)
	}
}

func TestPrivateAddressesAndRedirectsAreNotCalled(t *testing.T) {
	t.Parallel()
	called := make(chan string, 10)
	inside := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.URL.Path }))
	defer inside.Close()
	redirects := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inside.URL+"/redirected", http.StatusTemporaryRedirect)
	}))
	defer redirects.Close()
	m := &memory{}
	ids := map[string]uuid.UUID{}
	for _, url := range []string{
		inside.URL, "https://localhost" + inside.URL[strings.LastIndex(inside.URL, ":"):], "https://10.0.0.1", "https://169.254.169.254/latest/meta-data",
		"https://[::1]:9", "https://[::ffff:127.0.0.1]:9", "http://127.0.0.1:9", redirects.URL,
	} {
		ids[url] = m.add(url, "{}")
	}
	if err := sender(m, secret, host(redirects)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	for url, id := range ids {
		want := "address refused"
		switch {
		case url == redirects.URL:
			want = "redirects (307)"
		case strings.HasPrefix(url, "http:"):
			want = "must begin with https://"
		}
		if tries := m.of(id); len(tries) != 1 || tries[0].Delivered || !strings.Contains(tries[0].Error, want) || tries[0].Again < 10*time.Second {
			t.Errorf("%s: %+v, want %q", url, tries, want)
		}
	}
	if len(called) > 0 {
		t.Errorf("called %s", <-called)
	}
}

func TestAnEventIsTriedLaterAndLaterAndThenGivenUp(t *testing.T) {
	t.Parallel()
	status := http.StatusInternalServerError
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "999999")
		w.WriteHeader(status)
	}))
	defer receiver.Close()
	m := &memory{}
	id := m.add(receiver.URL, "{}")
	var last time.Duration
	for n := 1; n <= 10; n++ {
		m.events[0].TryAt = time.Time{}
		// A new leader knows of no URL that rests.
		if err := sender(m, secret, host(receiver)).Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		tries := m.of(id)
		if len(tries) != n {
			t.Fatalf("%d tries, want %d", len(tries), n)
		}
		got := tries[n-1]
		switch {
		case n == 10 && (got.Again != 0 || !strings.Contains(got.Error, "given up after 10 tries: the receiver answered 500")):
			t.Errorf("try %d: %+v", n, got)
		case n < 10 && (got.Again < last || got.Again < time.Hour || got.Again > 15*time.Hour || got.Status != 500):
			t.Errorf("try %d: %+v, after %s", n, got, last)
		}
		if n > 5 { // before, it is what the receiver asks for
			last = got.Again * 3 / 4
		}
	}
	gone := m.add(receiver.URL+"/gone", "{}")
	status = http.StatusGone
	if err := sender(m, secret, host(receiver)).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tries := m.of(gone); len(tries) != 1 || tries[0].Again != 0 {
		t.Errorf("%+v", tries)
	}
}

func TestAURLThatFailedIsLeftAloneForAWhile(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	called := map[string]int{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if called[r.URL.Path]++; r.URL.Path == "/fails" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer receiver.Close()
	m := &memory{}
	s := sender(m, secret, host(receiver))
	for range 2 {
		m.add(receiver.URL+"/fails", "{}")
		m.add(receiver.URL+"/takes", "{}")
		if err := s.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if called["/fails"] != 1 || called["/takes"] != 2 {
		t.Errorf("called: %v, want once where it failed and twice where it did not", called)
	}
}

func TestAURLThatCannotBeAReceiversIsRefused(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://example.com/hooks":                             "",
		"https://example.com/hooks?token=x":                     "",
		"http://inside:8080/hooks":                              "",
		"http://example.com/hooks":                              "must begin with https://, or example.com must stand in webhooks.allow",
		"https://ada:secret@example.com/":                       "must hold no user or password",
		"https://example.com/#part":                             "must have no fragment",
		"ftp://example.com/":                                    "must begin with https://",
		"/hooks":                                                "must be a URL",
		"https://":                                              "must be a URL",
		"https://example.com/" + strings.Repeat("x", 2048):      "must be a URL",
		"https://example.com/%zz":                               "must be a URL",
		"https://example.com/" + strings.Repeat("x", 2048-20):   "",
		"https://example.com/" + strings.Repeat("x", 2048-20+1): "must be a URL",
	} {
		err := webhooks.CheckURL(address, []string{"inside:8080"})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%.60s: %v, want %q", address, err, want)
		}
	}
}

func TestAURLThatDoesNotAnswerHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	quit := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-quit:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	got := make(chan struct{}, 100)
	quick := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { got <- struct{}{} }))
	defer quick.Close()
	m := &memory{}
	for range 50 {
		m.add(slow.URL, "{}")
	}
	for range 100 {
		m.add(quick.URL, "{}")
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- sender(m, secret, host(slow), host(quick)).Round(ctx) }()
	for range 100 {
		select {
		case <-got:
		case <-time.After(time.Minute):
			t.Fatal("the quick receiver waits for the slow one")
		}
	}
	cancel()
	<-over
	close(quit)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.URL == slow.URL && e.Tries > 0 {
			t.Error("a call that was cut off counts as a try")
		}
	}
}

func TestWithoutASecretEventsWaitAndSayWhy(t *testing.T) {
	t.Parallel()
	m := &memory{}
	m.add("https://example.com", "{}")
	err := sender(m, "").Round(t.Context())
	if err == nil || !strings.Contains(err.Error(), "1 webhook events wait") || !strings.Contains(m.held, "ONEFLOW_WEBHOOK_SECRET") {
		t.Errorf("%v, held: %s", err, m.held)
	}
}

func TestABadSecretIsRefusedAndNotShown(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!!!notbase64!!!notbase64!!!notbase64"} {
		_, err := webhooks.ParseSecrets(bad)
		if err == nil || strings.Contains(err.Error(), strings.TrimPrefix(bad, "whsec_")) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	list, err := webhooks.ParseSecrets(secret)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v", list, list, list)
	for _, part := range []string{"MfKQ", "49 242", "0x31, 0xf2"} { // as text, and its bytes
		if strings.Contains(shown, part) {
			t.Error(shown)
		}
	}
}

func TestWhatIsShownOfAURLHoldsNoQuery(t *testing.T) {
	t.Parallel()
	if got := webhooks.Shown("https://example.com/a/b?token=geheim"); got != "https://example.com/a/b?…" {
		t.Error(got)
	}
}

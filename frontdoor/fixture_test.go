package frontdoor_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/access"
	"oneflow/config"
	"oneflow/frontdoor"
	"oneflow/internal/app"
	"oneflow/internal/cli"
	"oneflow/internal/fakeprovider"
	"oneflow/internal/storetest"
	"oneflow/monitor"
	"oneflow/store"
)

func TestMain(m *testing.M) { storetest.VerifyMain(m) }

// house is a running monitor with a worker and fake providers.
type house struct {
	url    string
	dir    string // of artefacts and files
	dsn    string
	routes []access.Route
	db     *store.Store
	front  func() *frontdoor.FrontDoor // makes one more
	// waiting counts the calls that wait for their jobs' ends.
	waiting func() int
	vendor  *fakeprovider.Server
	client  *http.Client
}

// open starts a house.
func open(t *testing.T, fakes fakeprovider.Config, withWorker bool) *house {
	t.Helper()
	return openAt(t, fakes, 60_000, withWorker, "")
}

// openAt starts a house whose providers take so many requests a minute; more is added to its
// configuration.
func openAt(t *testing.T, fakes fakeprovider.Config, rpm int, withWorker bool, more string) *house {
	t.Helper()
	vendor, err := fakeprovider.New(fakes)
	must(t, err)
	must(t, vendor.Start(""))
	t.Cleanup(func() { _ = vendor.Close() })
	service := httptest.NewServer(alsoOpenAI(t, vendor.URL))
	t.Cleanup(service.Close)
	dir := t.TempDir()
	cfg, err := config.Parse([]byte("providers:\n"+
		"  openai: {base_url: "+service.URL+"/openai/v1, limits: {rpm: "+strconv.Itoa(rpm)+"}}\n"+
		"  anthropic: {base_url: "+service.URL+"/anthropic, limits: {rpm: "+strconv.Itoa(rpm)+"}}\n"+
		"artifacts: "+filepath.Join(dir, "artifacts")+"\nkeys: "+filepath.Join(dir, "keys.json")+"\nstate: ''\n"+more), "oneflow.yaml")
	must(t, err)
	dsn := storetest.Database(t)
	db, err := store.Open(t.Context(), dsn)
	must(t, err)
	t.Cleanup(db.Close)
	redisURL := storetest.Redis(t)
	options, err := redis.ParseURL(redisURL)
	must(t, err)
	tasks := cli.ForAsynq(options)
	keys, err := app.OpenKeys(func(name string) string {
		return map[string]string{"OPENAI_API_KEY": "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz", "ANTHROPIC_API_KEY": "sk-ant-REDACTED"}[name]
	}, cfg, zerolog.Nop())
	must(t, err)
	t.Cleanup(func() { keys.Close() })
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 2)
	n := 1
	if withWorker {
		n++
		go func() {
			// On a busy machine a worker may end as it starts, since Redis did not answer in time: it is started again, as a
			// supervisor does. Without one, calls would wait until the end of the tests.
			var err error
			for range 5 {
				err = app.RunWorker(ctx, app.WorkerOptions{Config: cfg, Keys: keys, Store: db, Redis: tasks, Log: zerolog.Nop()})
				if err == nil || ctx.Err() != nil {
					break
				}
				t.Logf("the worker ended: %v", err)
			}
			done <- err
		}()
	}
	newFront := func() *frontdoor.FrontDoor {
		front, err := app.NewFrontDoor(t.Context(), cfg, db, storetest.Client(t, redisURL), zerolog.New(zerolog.NewTestWriter(t)))
		must(t, err)
		return front
	}
	front := newFront()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	go func() {
		done <- monitor.Run(ctx, monitor.Config{Store: db, Access: db, Redis: tasks, FrontDoor: front, Log: zerolog.Nop()}, l)
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		for range n {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	return &house{url: "http://" + l.Addr().String(), dir: filepath.Join(dir, "artifacts"), dsn: dsn, routes: front.Routes(), front: newFront, waiting: front.Waiting, db: db, vendor: vendor, client: &http.Client{Transport: transport}}
}

// alsoOpenAI is the fake, and answers for the endpoints that it does not have as OpenAI's
// documentation says.
func alsoOpenAI(t *testing.T, fake string) http.Handler {
	t.Helper()
	to, err := url.Parse(fake)
	must(t, err)
	mux := http.NewServeMux()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	mux.Handle("/", proxy)
	withTools(mux, proxy)
	for path, body := range map[string]string{
		"/openai/v1/responses": `{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"gpt-5.4-mini",
			"output":[{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"hello","annotations":[]}]}],
			"usage":{"input_tokens":1,"input_tokens_details":{"cached_tokens":0},"output_tokens":1,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":2}}`,
		"/openai/v1/embeddings": `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":1,"total_tokens":1}}`,
	} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, body)
		})
	}
	return mux
}

func (h *house) token(t *testing.T, scope access.Scope, account string) string {
	t.Helper()
	secret, prefix := access.NewSecret()
	must(t, h.db.AddToken(t.Context(), access.Token{Prefix: prefix, Name: "test", Scope: scope, Account: account, CreatedBy: "ada"}, access.Hash(secret)))
	return secret
}

// openai is the official client, unchanged.
func (h *house) openai(token string) openai.Client {
	return openai.NewClient(option.WithBaseURL(h.url+"/v1"), option.WithAPIKey(token), option.WithHTTPClient(h.client))
}

func (h *house) anthropic(token string) anthropic.Client {
	return anthropic.NewClient(anthropicoption.WithBaseURL(h.url), anthropicoption.WithAPIKey(token), anthropicoption.WithHTTPClient(h.client))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // 50,000 rows take a while under the race detector
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 2 minutes: %s", what)
		case <-tick.C:
		}
	}
}

// reply is an answer; its body is closed when the test ends.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader
}

// send sends a plain request, as curl does.
func (h *house) send(t *testing.T, method, path, token, body string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(body))
	must(t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := h.client.Do(r)
	must(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	return reply{answer.StatusCode, answer.Header, answer.Body}
}

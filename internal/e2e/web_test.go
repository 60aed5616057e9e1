//go:build web

package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"oneflow/internal/harness"
)

// maxFirstPage is the most that the first page may bring, in bytes.
const maxFirstPage = 200 << 10

// tab is a page of a real browser that looks at a monitor.
type tab struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of the browser's tab
	base string

	mu       sync.Mutex
	faults   []string // what the console said
	requests []string // to other hosts
}

func newTab(t *testing.T, base string) *tab {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	t.Cleanup(cancel)
	ctx, done := chromedp.NewContext(limit, chromedp.WithAllocatorOptions(chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900)))
	t.Cleanup(done)
	b := &tab{t: t, ctx: ctx, base: base}
	b.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
		return err
	}))
	if err := chromedp.Listen(ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	return b
}

// heard keeps what the console says, and what leaves the host.
func (b *tab) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.faults = append(b.faults, e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" {
			b.faults = append(b.faults, e.Entry.Text+" "+e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if to := e.Request.URL; !strings.HasPrefix(to, b.base) && !strings.HasPrefix(to, "data:") && to != "about:blank" {
			b.requests = append(b.requests, to)
		}
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) visit(path string) { b.t.Helper(); b.do(chromedp.Navigate(b.base + path)) }

// holds reports whether an expression is true on the page.
func (b *tab) holds(expression string) bool {
	b.t.Helper()
	ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
	return err == nil && ok // a page that is being left cannot say
}

func (b *tab) until(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 90*time.Second)
	defer cancel()
	if err := harness.Until(ctx, 50*time.Millisecond, what, func() (bool, error) { return b.holds(expression), nil }); err != nil {
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href + ' ' + document.body.innerText"))
		b.t.Fatalf("%v\n%s", err, text)
	}
}

func says(text string) string { return fmt.Sprintf("document.body.innerText.includes(%q)", text) }

// submit fills a form in and sends it.
func (b *tab) submit(form, field, value string) {
	b.t.Helper()
	if field != "" {
		b.holds(fmt.Sprintf("document.querySelector(%q).elements[%q].value = %q", form, field, value))
	}
	b.holds(fmt.Sprintf("(document.querySelector(%q).requestSubmit(), true)", form))
}

// shoot looks at a page in light or dark. The picture is kept in ONEFLOW_SHOTS, where that is set.
func (b *tab) shoot(name, scheme string, width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
	if b.holds("document.documentElement.scrollWidth > innerWidth") {
		b.t.Errorf("%s: wider than %d pixels", name, width)
	}
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if folder := os.Getenv("ONEFLOW_SHOTS"); folder != "" {
		if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o600); err != nil {
			b.t.Error(err)
		}
	}
}

// ended fails where the console spoke of errors, or a request left the host.
func (b *tab) ended() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		b.t.Errorf("the console says: %s", f)
	}
	for _, r := range b.requests {
		b.t.Errorf("a request to another host: %s", r)
	}
}

func TestTheMonitorInARealBrowser(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "concurrency: 20, latency: 100ms, limits: {rpm: 0}")
	token := decode[struct{ Token string }](sut, "monitor", "token", "create", "web", "--scope", "admin", "-o", "json").Token
	serve := sut.background("monitor", "serve", "--listen", "127.0.0.1:0")
	base := ""
	sut.until("the monitor to serve", func() bool {
		if _, rest, ok := strings.Cut(serve.Text(), "monitor: http://"); ok {
			host, _, whole := strings.Cut(rest, "/")
			base = "http://" + host
			return whole
		}
		return false
	})

	b := newTab(t, base)
	b.visit("/money")
	b.until("the login page", "document.querySelector('#token')")
	b.submit("form.login", "token", "oneflow_wrong_TOKEN")
	b.until("a refusal", "document.querySelector('#wrong')")
	b.mu.Lock()
	b.faults = nil // the browser tells of the 401
	b.mu.Unlock()
	b.submit("form.login", "token", token)
	b.until("the page that was asked for", "location.pathname === '/money' && "+says("By day"))

	// A batch of a thousand from its start to its end, on a page that is never loaded again.
	b.visit("/")
	b.until("the first page", says("No batches yet"))
	size, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).reduce((n, e) => n + e.transferSize, 0)`))
	if err != nil || size == 0 || size > maxFirstPage {
		t.Errorf("the first page brings %d bytes: %v", size, err)
	}
	b.holds("window.stayed = true")
	var rows strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&rows, "{\"prompt\": %q}\n", fmt.Sprintf("%s %d", canaryPrompt, i))
	}
	if err := os.WriteFile(filepath.Join(sut.Dir, "rows.jsonl"), []byte(rows.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	sut.run(0, "enqueue", "batch", "rows.jsonl", "--batch-id", "thousand", "--provider", "mock")
	b.until("the batch to appear", says("0 of 1,000 done"))
	sut.worker()
	b.until("the batch to be under way", "/[1-9]\\d* of 1,000 done/.test(document.body.innerText) && !"+says("1,000 of 1,000 done"))
	b.until("the batch to end", says("1,000 of 1,000 done"))
	if !b.holds("window.stayed") {
		t.Error("the page was loaded again")
	}
	b.shoot("overview", "light", 1280, 900)
	b.shoot("overview-dark", "dark", 1280, 900)
	b.shoot("overview-narrow", "light", 390, 844)

	// A provider is disabled and enabled.
	b.visit("/providers")
	b.submit("form[action='/providers/mock/disable']", "reason", "too dear")
	b.until("the provider to be disabled", says("too dear")+" && document.querySelector(\"form[action='/providers/mock/enable']\")")
	b.submit("form[action='/providers/mock/enable']", "", "")
	b.until("the provider to be enabled", "document.querySelector(\"form[action='/providers/mock/disable']\")")

	// A picture is looked at, on demand.
	sut.run(0, "enqueue", "image", canaryPrompt, "--provider", "mock", "--wait")
	picture := sut.text(`SELECT id::text FROM jobs WHERE task = 'image'`)
	b.visit("/jobs/" + picture)
	if b.holds("document.querySelector('figure img')") {
		t.Error("the picture is shown before anybody asks")
	}
	b.submit("form[action='/jobs/"+picture+"/reveal']", "", "")
	b.until("the picture", "document.querySelector('figure img')?.naturalWidth > 0")
	if n := sut.number(`SELECT count(*) FROM audit_log WHERE what = 'POST /jobs/{id}/reveal' AND object LIKE '%' || $1 || '%'`, picture); n != 1 {
		t.Errorf("%d rows of the record say who has looked", n)
	}

	// Each page, in light, dark and narrow.
	for _, page := range []string{"money", "providers", "workers", "schedules", "dead-letters", "alerts", "jobs", "batches", "batches/thousand"} {
		b.visit("/" + page)
		name := url.PathEscape(strings.ReplaceAll(page, "/", "-"))
		b.shoot(name, "light", 1280, 900)
		b.shoot(name+"-dark", "dark", 1280, 900)
		b.shoot(name+"-narrow", "light", 390, 844)
	}
	b.do(chromedp.EmulateViewport(1280, 900)) // asynqmon's own curves do not fit a narrow one
	b.visit("/asynqmon/")
	b.until("asynqmon", says("Queues"))
	b.ended()
}

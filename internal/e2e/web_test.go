//go:build web

package e2e

import (
	"context"
	"fmt"
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

// tab is a page of a real browser that looks at a monitor.
type tab struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // of the browser's tab
	base string

	mu       sync.Mutex
	faults   []string // what the console said
	axe      string   // what looks for faults that keep people out
	requests []string // to other hosts
}

func newTab(t *testing.T, base string) *tab {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
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
	b.open(name)
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

// axeScript is axe-core, which `make test-web` installs.
const axeScript = "testdata/axe/node_modules/axe-core/axe.min.js"

// open fails where axe-core finds a serious fault of the page that is shown: one that keeps people
// out who see little, hear little or use a keyboard.
func (b *tab) open(name string) {
	b.t.Helper()
	b.accessible(name, "document")
}

// accessible does so for a part of the page: an element's selector, or "document".
func (b *tab) accessible(name, part string) {
	b.t.Helper()
	if found := b.axeFinds(part); found != "" {
		b.t.Errorf("%s: axe-core finds\n%s", name, found)
	}
}

// axeFinds returns the serious faults that axe-core finds in a part of the page.
func (b *tab) axeFinds(part string) string {
	b.t.Helper()
	if part != "document" {
		part = fmt.Sprintf("%q", part)
	}
	if b.axe == "" {
		text, err := os.ReadFile(axeScript)
		if err != nil {
			b.t.Fatalf("%v: `make test-web` installs it", err)
		}
		b.axe = string(text)
	}
	found, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`(() => {
		if (!window.axe) { `+b.axe+` }
		return axe.run(`+part+`, { resultTypes: ['violations'] }).then(r => r.violations
			.filter(v => v.impact === 'serious' || v.impact === 'critical')
			.map(v => v.impact + ' ' + v.id + ': ' + v.help + ' at ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? '')).join(' | ')).join('\n'));
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("axe-core: %v", err)
	}
	return found
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

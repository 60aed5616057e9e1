//go:build web

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// maxFirstPage is the most that the first page may bring, in bytes.
const maxFirstPage = 200 << 10

func TestTheMonitorInARealBrowser(t *testing.T) {
	t.Parallel()
	sut := newSystem(t, "latency: 1ms")
	sut.configure(fmt.Sprintf("artifacts: %s\nproviders:\n  mock: {concurrency: 20, latency: 200ms, limits: {rpm: 0}}\n  other: {kind: mock, latency: 20ms, limits: {rpm: 0}}\n", filepath.Join(sut.Dir, "artifacts")))
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
	b.shoot("login", "light", 1280, 900)
	b.submit("form.login", "token", "oneflow_wrong_TOKEN")
	b.until("a refusal", "document.querySelector('#wrong')")
	b.shoot("login-refused", "dark", 390, 844)
	b.mu.Lock()
	b.faults = nil // the browser tells of the 401
	b.mu.Unlock()
	b.submit("form.login", "token", token)
	b.until("the page that was asked for", "location.pathname === '/money' && "+says("By day"))
	b.do(chromedp.EmulateViewport(1280, 900))

	b.followsATask(sut)
	b.seesABatch(sut)
	b.disablesAProvider()
	b.retriesAGroup(sut)
	b.looksAtAPicture(sut)
	b.comparesModels(sut)
	b.seesAPipeline(sut)
	b.paints()
	b.readsACurve()

	b.walksAllPages(sut)
	b.do(chromedp.EmulateViewport(1280, 900)) // asynqmon's own curves do not fit a narrow one
	b.visit("/asynqmon/")
	b.until("asynqmon", says("Queues"))
	b.accessible("what we add to asynqmon", "#oneflow")
	b.t.Logf("axe-core finds in asynqmon, which is not ours: %s", b.axeFinds("document"))
	b.ended()
}

// walksAllPages looks at each page in light, dark and narrow. That none is left out is held by the
// monitor's list of routes.
func (b *tab) walksAllPages(sut *system) {
	b.t.Helper()
	sut.run(0, "monitor", "wallet", "deposit", "research", "5")
	sut.run(0, "enqueue", "schedule", "add", "nightly", "--cron", "30 2 * * *", "--", "text", "two words", "--provider", "mock")
	job := sut.text(`SELECT job_id::text FROM job_states WHERE state = 'failed' LIMIT 1`)
	source, err := os.ReadFile("../../monitor/routes.go")
	if err != nil {
		b.t.Fatal(err)
	}
	examples := map[string][]string{
		"/{$}": {"/"}, "/batches/{id}": {"/batches/thousand", "/batches/cut"}, "/jobs/{id}": {"/jobs/" + job}, "/money/wallets/{account}": {"/money/wallets/research"},
		"/schedules/{id}": {"/schedules/nightly"}, "/comparisons/{id}": {"/comparisons/haikus"}, "/comparisons/{id}/answers": {"/comparisons/haikus/answers"},
		"/pipelines/{id}": {"/pipelines/line"}, "/tasks/{queue}/{id}": {"/no-such-page"}, "/login": nil, // looked at before; a task leads to its job
	}
	pages := 0
	for _, route := range regexp.MustCompile(`"GET (/[^"]*)", (?:http\.HandlerFunc\()?m\.\w+Page\)`).FindAllStringSubmatch(string(source), -1) {
		paths, listed := examples[route[1]]
		if !listed {
			paths = []string{route[1]}
		}
		for _, path := range paths {
			pages++
			b.visit(path)
			name := url.PathEscape(strings.ReplaceAll(strings.TrimPrefix(strings.Replace(path, job, "job", 1), "/"), "/", "-"))
			if path == "/" {
				name = "overview"
			}
			b.shoot(name, "light", 1280, 900)
			b.keyboard(path)
			b.shoot(name+"-dark", "dark", 1280, 900)
			b.shoot(name+"-narrow", "light", 390, 844)
			b.shoot(name+"-narrow-dark", "dark", 390, 844)
		}
	}
	if pages < 20 {
		b.t.Errorf("%d pages were found", pages)
	}
	b.mu.Lock()
	b.faults = nil // the browser tells of the 404
	b.mu.Unlock()
}

// keyboard fails where something that is clicked on cannot be reached with the Tab key, or does not
// show that it has been; and where the first thing reached does not lead past the menu.
func (b *tab) keyboard(path string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent("\t")) // a focus is shown to whoever uses the keyboard
	bad, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`(() => {
		const shown = e => e.checkVisibility() && e.getClientRects().length > 0;
		const all = [...document.querySelectorAll('a, button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex="-1"])')].filter(shown);
		const bad = [];
		if (document.activeElement !== all[0]) bad.push('Tab does not lead to the first: ' + document.activeElement.outerHTML.slice(0, 100));
		if (all[0].className !== 'skip') bad.push('the first is ' + all[0].outerHTML.slice(0, 100));
		for (const e of all) {
			if (e.tabIndex < 0 || e.tabIndex > 0 && !e.matches('figure')) bad.push('is not reached in its turn: ' + e.outerHTML.slice(0, 100));
			e.focus({ preventScroll: true });
			const style = getComputedStyle(e);
			if (document.activeElement !== e || style.outlineStyle === 'none' && style.boxShadow === 'none') bad.push('does not show its focus: ' + e.outerHTML.slice(0, 100));
		}
		document.activeElement.blur();
		return bad.slice(0, 5).join('\n');
	})()`))
	if err != nil {
		b.t.Fatal(err)
	}
	if bad != "" {
		b.t.Errorf("%s: by keyboard: %s", path, bad)
	}
}

// followsATask goes from a job to its task in Redis, as asynqmon shows it, and back.
func (b *tab) followsATask(sut *system) {
	b.t.Helper()
	sut.run(0, "enqueue", "text", canaryPrompt, "--provider", "mock")
	job := sut.text(`SELECT id::text FROM jobs`)
	b.visit("/jobs/" + job)
	b.holds(`(document.querySelector("a[href^='/asynqmon/queues/mock.']").click(), true)`)
	b.until("asynqmon shows the task", "location.pathname.startsWith('/asynqmon/queues/mock.') && "+says(job))
	b.until("the link to its job", "document.querySelector('#oneflow').getAttribute('href').startsWith('/tasks/')")
	b.holds("(document.querySelector('#oneflow').click(), true)")
	b.until("the job again", "location.pathname === '/jobs/"+job+"'")
}

// seesABatch sees a batch of a thousand from its start to its end, on a page that is never loaded
// again.
func (b *tab) seesABatch(sut *system) {
	b.t.Helper()
	b.visit("/")
	b.until("the first page", says("No batches yet"))
	size, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation')).reduce((n, e) => n + e.transferSize, 0)`))
	if err != nil || size == 0 || size > maxFirstPage {
		b.t.Errorf("the first page brings %d bytes: %v", size, err)
	}
	b.holds("window.stayed = true")
	sut.run(0, "enqueue", "batch", b.rows(sut, canaryPrompt, 1000), "--batch-id", "thousand", "--provider", "mock")
	b.until("the batch to appear", says("0 of 1,000 done"))
	sut.workerOf("mock", "other")
	b.until("the batch to be under way", "/[1-9]\\d* of 1,000 done/.test(document.body.innerText) && !"+says("1,000 of 1,000 done"))
	b.until("the batch to end", says("1,000 of 1,000 done"))
	if !b.holds("window.stayed") {
		b.t.Error("the page was loaded again")
	}
}

// paints fails where the first page is not drawn within a second, in the best of five tries: the
// machine may be busy.
func (b *tab) paints() {
	b.t.Helper()
	best := 1e9
	for range 5 {
		b.visit("/")
		b.until("the page to be drawn", "performance.getEntriesByName('first-contentful-paint').length > 0")
		at, err := chromedp.Run(b.ctx, chromedp.Evaluate[float64]("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
		if err != nil {
			b.t.Fatal(err)
		}
		best = min(best, at)
	}
	b.t.Logf("the first page is drawn after %.0f ms", best)
	if best > 1000 {
		b.t.Errorf("the first page is drawn after %.0f ms", best)
	}
}

// readsACurve moves over the first page's charts by keyboard; they outlast the page's refreshing.
func (b *tab) readsACurve() {
	b.t.Helper()
	b.until("the charts", "document.querySelectorAll('figure .uplot canvas').length === 2")
	key := func(name string) string {
		return fmt.Sprintf("(document.querySelector('figure.chart').dispatchEvent(new KeyboardEvent('keydown', { key: %q, bubbles: true })), true)", name)
	}
	b.holds(key("ArrowLeft"))
	b.until("what the last minute was", "/\\d\\d:\\d\\d/.test(document.querySelector('.u-legend').innerText)")
	last := "document.querySelector('.u-legend .u-value').innerText"
	b.holds("(window.last = " + last + ", true)")
	b.holds(key("ArrowLeft"))
	b.until("another minute", last+" !== window.last")
	b.holds("(document.dispatchEvent(new Event('carried')), true)")
	if !b.holds("document.querySelectorAll('figure .uplot canvas').length === 2") {
		b.t.Error("the charts are gone after a refresh")
	}
}

// rows writes a file of so many prompts that begin alike.
func (b *tab) rows(sut *system, prompt string, n int) string {
	b.t.Helper()
	var rows strings.Builder
	for i := range n {
		fmt.Fprintf(&rows, "{\"prompt\": %q}\n", fmt.Sprintf("%s %d", prompt, i))
	}
	name := fmt.Sprintf("rows-%d.jsonl", n)
	if err := os.WriteFile(filepath.Join(sut.Dir, name), []byte(rows.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return name
}

// disablesAProvider disables a provider, and enables it again.
func (b *tab) disablesAProvider() {
	b.t.Helper()
	b.visit("/providers")
	b.submit("form[action='/providers/mock/disable']", "reason", "too dear")
	b.until("the provider to be disabled", says("too dear")+" && document.querySelector(\"form[action='/providers/mock/enable']\")")
	b.submit("form[action='/providers/mock/enable']", "", "")
	b.until("the provider to be enabled", "document.querySelector(\"form[action='/providers/mock/disable']\")")
}

// retriesAGroup brings the jobs back that failed for one reason: answers that were cut off.
func (b *tab) retriesAGroup(sut *system) {
	b.t.Helper()
	sut.run(5, "enqueue", "batch", b.rows(sut, canaryPrompt, 3), "--batch-id", "cut", "--provider", "mock", "--set", "max_tokens=1", "--on-cut", "fail", "--watch")
	calls := func() int64 {
		return sut.number(`SELECT count(*) FROM call_jobs c JOIN jobs j ON j.id = c.job_id WHERE j.batch_id = 'cut'`)
	}
	before := calls()
	b.visit("/batches/cut")
	b.until("the group that failed", says("3 failed")+" && document.querySelectorAll('.sample').length === 3")
	b.submit("form[action='/batches/cut/retry-group']", "", "")
	sut.until("the group was asked again, and failed again", func() bool {
		return calls() == before+3 && sut.number(`SELECT count(*) FROM job_states WHERE batch_id = 'cut' AND state = 'failed'`) == 3
	})
	if n := sut.number(`SELECT count(*) FROM audit_log WHERE what = 'POST /batches/{id}/retry-group' AND status = 303`); n != 1 {
		b.t.Errorf("%d rows of the record say who has retried", n)
	}
}

// looksAtAPicture looks at a picture, which is shown on demand.
func (b *tab) looksAtAPicture(sut *system) {
	b.t.Helper()
	sut.run(0, "enqueue", "image", canaryPrompt, "--provider", "mock", "--wait")
	picture := sut.text(`SELECT id::text FROM jobs WHERE task = 'image'`)
	b.visit("/jobs/" + picture)
	if b.holds("document.querySelector('figure img')") {
		b.t.Error("the picture is shown before anybody asks")
	}
	b.submit("form[action='/jobs/"+picture+"/reveal']", "", "")
	b.until("the picture", "document.querySelector('figure img')?.naturalWidth > 0")
	b.shoot("picture", "light", 1280, 900)
	if n := sut.number(`SELECT count(*) FROM audit_log WHERE what = 'POST /jobs/{id}/reveal' AND object LIKE '%' || $1 || '%'`, picture); n != 1 {
		b.t.Errorf("%d rows of the record say who has looked", n)
	}
}

// comparesModels sees two models side by side, with a judge. The command prints its prompts, which
// are no canaries therefore.
func (b *tab) comparesModels(sut *system) {
	b.t.Helper()
	sut.run(0, "enqueue", "compare", b.rows(sut, "a haiku about queues", 4), "--with", "mock,other", "--judge", "mock", "--name", "haikus")
	b.visit("/comparisons/haikus")
	b.until("its figures", says("Best, says mock/"))
	b.holds(`([...document.querySelectorAll('a')].find(a => a.textContent === 'Show the answers').click(), true)`)
	b.until("the answers side by side", "document.querySelectorAll('.sides > section').length === 8")
}

// seesAPipeline sees a pipeline of two steps as one.
func (b *tab) seesAPipeline(sut *system) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(sut.Dir, "then.yaml"), []byte("name: translate\ntemplate: \"Translate: {{answer}}\"\nprovider: other\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
	sut.run(0, "enqueue", "batch", b.rows(sut, canaryPrompt, 5), "--batch-id", "line", "--provider", "mock", "--then", "then.yaml", "--watch")
	b.visit("/pipelines/line")
	b.until("both steps as one", says("10 of 10 done")+" && "+says("translate"))
}

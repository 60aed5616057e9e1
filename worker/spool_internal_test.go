package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/jobs"
	"oneflow/providers"
)

// book is a Postgres that knows some calls.
type book struct {
	WorkStore
	mu      sync.Mutex
	away    error // what everything fails with
	refuses uuid.UUID
	foreign uuid.UUID
	got     map[uuid.UUID][]spooled
}

func (b *book) Known(_ context.Context, calls []uuid.UUID) ([]uuid.UUID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(calls), func(id uuid.UUID) bool { return id == b.foreign }), b.away
}

func (b *book) write(e spooled) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away != nil {
		return b.away
	}
	if e.call() == b.refuses {
		return errors.New("value too long")
	}
	if b.got == nil {
		b.got = map[uuid.UUID][]spooled{}
	}
	b.got[e.call()] = append(b.got[e.call()], e)
	if len(b.got[e.call()]) > 1 {
		return jobs.ErrLeaseLost
	}
	return nil
}

func (b *book) Succeed(_ context.Context, s jobs.Success) error { return b.write(spooled{Answer: &s}) }

func (b *book) SettleCall(_ context.Context, s jobs.Settlement) error {
	return b.write(spooled{Settlement: &s})
}

// outcomes are one of each kind, with everything that a field can hold.
func outcomes() []spooled {
	cost := billing.NanoUSD(1_234_567_891)
	settled := jobs.Settlement{
		CallID: jobs.NewID(), Outcome: jobs.CallSucceeded, Cost: &cost, PriceIDs: []string{"a/b"}, Latency: 1234567 * time.Microsecond, Status: 200,
		RequestID: "req \u2028 <1>", Kind: providers.Timeout, Message: "nul \x00 and \"quotes\"\n", Body: []byte("\x00\xff raw"),
		Usage: providers.Usage{InputTokens: 1, OutputTokens: 2, Variant: "v"}, Limits: providers.RateLimits{Requests: &providers.RateLimit{Limit: 5, Remaining: -1, Reset: time.Second}},
	}
	failed := settled
	failed.CallID, failed.Outcome, failed.Cost = jobs.NewID(), jobs.CallUnknown, nil
	return []spooled{
		{Answer: &jobs.Success{
			JobID: jobs.NewID(), LeaseToken: jobs.NewID(), Settlement: settled,
			Response: providers.Response{
				Provider: "p", Model: "m", Text: "text \x00 ü😀\r\nsecond line", FinishReason: "stop", RequestID: "r", Status: 200, Raw: []byte("\xff\x00{}\n"),
				Usage: settled.Usage, Latency: time.Second, Limits: settled.Limits,
			},
			Artifacts: []jobs.Artifact{{MIME: "image/png", Size: 3, SHA256: sha256.Sum256([]byte("png")), URL: "file:///a b"}},
		}},
		{Settlement: &failed},
	}
}

func spoolOf(t *testing.T, dir string, log *bytes.Buffer) *spool {
	t.Helper()
	s := newSpool(dir, jobs.NewID(), zerolog.New(log))
	t.Cleanup(func() { _ = s.close() })
	return s
}

// left lists the files of a spool by suffix.
func left(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, filepath.Ext(e.Name()))
	}
	return names
}

func TestWhatIsSpooledIsCommittedOnceAndWhole(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	var log bytes.Buffer
	writer, reader := spoolOf(t, dir, &log), spoolOf(t, dir, &log)
	want := outcomes()
	for _, e := range want {
		withBlob := e
		if e.Answer != nil {
			a := *e.Answer
			a.Response.Blobs = []providers.Blob{{MIME: "image/png", Data: []byte("png")}} // stored already
			withBlob.Answer = &a
		}
		if err := writer.keep(withBlob); err != nil {
			t.Fatal(err)
		}
	}
	for path, mode := range map[string]os.FileMode{filepath.Join(dir, "spool"): 0o700, filepath.Join(dir, "spool", writer.worker.String()+".spool"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %o", path, info, err, mode)
		}
	}
	b := &book{}
	reader.recover(t.Context(), b)
	if len(b.got) != 0 {
		t.Error("a living worker's file was committed by another")
	}
	if err := writer.close(); err != nil {
		t.Fatal(err)
	}
	b.away = errors.New("no route to host")
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the time is over
	reader.recover(ctx, b)
	if got := left(t, dir); !slices.Equal(got, []string{".spool"}) {
		t.Errorf("with Postgres away, %v are left", got)
	}
	b.away = nil
	reader.recover(t.Context(), b)
	for _, e := range want {
		if diff := cmp.Diff([]spooled{e}, b.got[e.call()]); diff != "" {
			t.Error(diff)
		}
	}
	if got := left(t, dir); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
	if strings.Contains(log.String(), "second line") {
		t.Error("an answer is in the log")
	}
}

func TestWhatCannotBeCommittedIsKeptAsideAndNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	writer, reader := spoolOf(t, dir, &log), spoolOf(t, dir, &log)
	good := outcomes()
	foreign, refused := outcomes()[0], outcomes()[1]
	for _, e := range []spooled{good[0], foreign, refused, good[1]} {
		if err := writer.keep(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "spool", writer.worker.String()+".spool")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	changed := bytes.Replace(lines[0], []byte("second line"), []byte("sekond line"), 1)
	body := []byte(`{"answer":null}`)
	sum := sha256.Sum256(body)
	odd := [][]byte{
		[]byte("hello\n"), changed, bytes.Replace(lines[0], []byte(`{"v":1,`), []byte(`{"v":2,`), 1),
		fmt.Appendf(nil, "{\"v\":1,\"sha256\":%q,\"body\":%s}\n", hex.EncodeToString(sum[:]), body), []byte("\n"),
	}
	cut := lines[0][:len(lines[0])/2] // the worker was killed while it wrote
	all := slices.Concat(slices.Concat(odd...), data, cut)
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	b := &book{foreign: foreign.call(), refuses: refused.call()}
	reader.recover(t.Context(), b)
	if len(b.got) != 2 || len(b.got[good[0].call()]) != 1 || len(b.got[good[1].call()]) != 1 {
		t.Errorf("committed %d, want the two that are whole and known here", len(b.got))
	}
	aside, err := os.ReadFile(path + ".bad")
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Concat(slices.Concat(odd...), lines[1], lines[2], cut, []byte("\n")); !bytes.Equal(aside, want) {
		t.Errorf("kept aside:\n%s\nwant\n%s", aside, want)
	}
	for _, want := range []string{
		path, `"line":1,`, "cut off or no line", "was changed", "version 2", "names no outcome", "does not stand in this database", "refused: value too long", `"line":10,`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s: %s", want, log.String())
		}
	}
	if got := left(t, dir); !slices.Equal(got, []string{".bad"}) {
		t.Errorf("%v are left", got)
	}
	log.Reset()
	reader.remind()
	if !strings.Contains(log.String(), path+".bad") {
		t.Errorf("nobody is reminded of it: %s", log.String())
	}
}

func TestWorkersThatStartAtOnceLoseNothingOfASpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	const writers, each, readers = 4, 25, 8
	var calls []uuid.UUID
	for range writers {
		w := spoolOf(t, dir, &bytes.Buffer{})
		for range each {
			e := outcomes()[0]
			calls = append(calls, e.call())
			if err := w.keep(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
	}
	b := &book{}
	var all sync.WaitGroup
	for range readers {
		s := newSpool(dir, jobs.NewID(), zerolog.Nop())
		all.Go(func() { s.recover(t.Context(), b) })
	}
	all.Wait()
	spoolOf(t, dir, &log).recover(t.Context(), b) // a file that was just being committed
	for _, id := range calls {
		if len(b.got[id]) == 0 {
			t.Errorf("%s is lost", id)
		}
	}
	if got := left(t, dir); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
}

// disk is a file whose disk is full for some writes: half of a line fits.
type disk struct {
	*os.File
	full int
}

func (d *disk) Write(p []byte) (int, error) {
	if d.full > 0 {
		d.full--
		n, err := d.File.Write(p[:len(p)/2])
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return d.File.Write(p)
}

func TestAFullDiskIsTriedAgainAndLeavesNoHalfLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	s := spoolOf(t, dir, &log)
	e := outcomes()
	if err := s.keep(e[0]); err != nil {
		t.Fatal(err)
	}
	s.file = &disk{s.file.(*os.File), 2}
	if err := s.keep(e[1]); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// As the handler of a worker that is told to stop does it.
	over, cancel := context.WithCancel(t.Context())
	cancel()
	h := &handler{cfg: Config{Store: Stores{Work: &book{away: context.Canceled}}}, writing: over, spool: s}
	if err := h.record(e[1]); !errors.Is(err, errSpooled) {
		t.Errorf("%v, want it spooled once there is room", err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	b := &book{}
	spoolOf(t, dir, &log).recover(t.Context(), b)
	if len(b.got) != 2 || log.Len() == 0 || strings.Contains(log.String(), "cannot be committed") {
		t.Errorf("committed %d of 2: %s", len(b.got), log.String())
	}
}

func TestASpoolThatCannotBeMadeIsToldByItsName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken := filepath.Join(dir, ".w.new")
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := createSpool(dir, "w"); err == nil || !strings.HasPrefix(err.Error(), "write "+filepath.Join(dir, "w.spool")+": ") || strings.Contains(err.Error(), taken) {
		t.Errorf("%v, want the file's own name", err)
	}
}

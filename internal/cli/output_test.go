package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"oneflow/billing"
	"oneflow/internal/cli"
	"oneflow/internal/golden"
	"oneflow/jobs"
)

func TestCountsForPeopleHaveCommas(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 12345: "12,345", 123456: "123,456", 1234567: "1,234,567", -5: "-5", -1000: "-1,000", -123456: "-123,456",
		math.MaxInt64: "9,223,372,036,854,775,807", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := cli.Count(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestSpansForPeopleAreShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0ms", -time.Hour: "0ms", time.Microsecond: "0ms", 850 * time.Millisecond: "850ms", 999999 * time.Microsecond: "999ms", time.Second: "1.0s", 4250 * time.Millisecond: "4.2s",
		59990 * time.Millisecond: "59.9s", time.Minute: "1m 0s", 3*time.Minute + 5*time.Second: "3m 5s", time.Hour - time.Millisecond: "59m 59s", 2*time.Hour + 10*time.Minute: "2h 10m", 50 * time.Hour: "2d 2h",
	} {
		if got := cli.Span(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestMoneyNeverHidesCallsWithoutAPrice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n        billing.NanoUSD
		unpriced int64
		want     string
	}{
		{0, 0, "$0.00"},
		{1, 0, "<$0.0001"},
		{12_340_000_000, 0, "$12.34"},
		{0, 1, "$0.00 + 1 call without a known price"},
		{30_000_000, 12_345, "$0.03 + 12,345 calls without a known price"},
	} {
		if got := cli.Money(c.n, c.unpriced); got != c.want {
			t.Errorf("%d, %d: got %s, want %s", c.n, c.unpriced, got, c.want)
		}
	}
}

// counts has every state, as a store fills it.
func counts(some map[jobs.State]int64) map[jobs.State]int64 {
	all := map[jobs.State]int64{}
	for _, s := range jobs.States() {
		all[s] = some[s]
	}
	return all
}

func TestStatusIsATableForPeopleAndFixedJSONForPrograms(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]jobs.Progress{
		"batch": {
			BatchID: "b-1", State: jobs.BatchRunning, Cost: 1_234_567_891, Charge: 5_000_000_000, Unpriced: 2,
			Counts: counts(map[jobs.State]int64{jobs.Queued: 120_000, jobs.Running: 50, jobs.Succeeded: 9_999, jobs.Failed: 1}),
		},
		"job": {
			JobID: "018f", BatchID: "b-1", State: "failed", ErrorClass: "auth", ErrorMessage: "the key was <refused>", Cost: 0,
			Counts: counts(map[jobs.State]int64{jobs.Failed: 1}),
		},
		"single": {JobID: "018f", State: "succeeded", Cost: 42, Charge: 42, Counts: counts(map[jobs.State]int64{jobs.Succeeded: 1})},
	} {
		var out bytes.Buffer
		if err := cli.PrintStatus(&out, p); err != nil {
			t.Fatal(err)
		}
		out.WriteString("\n")
		if err := cli.JSON(&out, cli.StatusOf(p)); err != nil {
			t.Fatal(err)
		}
		golden.Compare(t, "status-"+name+".txt", out.String())
	}
}

func TestALineIsOneLineOfJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := cli.Line(&out, map[string]string{"a": "<b>\n&"}); err != nil || out.String() != "{\"a\":\"<b>\\n&\"}\n" || !json.Valid(out.Bytes()) {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestAFileIsThereWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "results with spaces.jsonl")
	write := func(text string, err error) error {
		return cli.WriteFile(path, func(w io.Writer) error {
			if _, err := io.WriteString(w, text); err != nil {
				return err
			}
			if old, err := os.ReadFile(path); err == nil && string(old) == text {
				t.Error("the file is there before it is complete")
			}
			return err
		})
	}
	broken := errors.New("the database went away")
	if err := write("half", broken); !errors.Is(err, broken) || err.Error() != broken.Error() {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a file is there: %v", err)
	}
	for _, text := range []string{"first", "second"} {
		if err := write(text, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := write("third", broken); !errors.Is(err, broken) {
		t.Error(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != "second" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("answers may be read by others: %v, %v", info.Mode(), err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("something is left: %v, %v", list, err)
	}
}

func TestWhatIsNoFileIsNotReplacedByOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan string, 1)
	go func() {
		data, err := os.ReadFile(pipe)
		read <- fmt.Sprint(string(data), err)
	}()
	hello := func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err }
	if err := cli.WriteFile(pipe, hello); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "hello<nil>" {
		t.Error(got)
	}
	if err := cli.WriteFile(dir, hello); err == nil || err.Error() != "write "+dir+": is a folder" {
		t.Error(err)
	}
	if err := cli.WriteFile(filepath.Join(dir, "none", "x"), hello); err == nil || !strings.HasPrefix(err.Error(), "write "+dir) || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

func TestTheLogHasALevelAndAPlace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	var stderr bytes.Buffer
	for _, c := range []struct {
		l    cli.Logging
		want string // in stderr
	}{
		{cli.Logging{LogLevel: "info"}, `"level":"info"`}, {cli.Logging{LogLevel: "error"}, ""}, {cli.Logging{LogLevel: "info", LogFile: path}, ""}, {cli.Logging{LogLevel: "debug", LogFile: path}, ""},
	} {
		stderr.Reset()
		log, closeLog, err := c.l.Logger(&stderr)
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Msg("hello")
		log.Debug().Msg("detail")
		if err := closeLog(); err != nil {
			t.Error(err)
		}
		if got := stderr.String(); !strings.Contains(got, c.want) || (got == "") != (c.want == "") || strings.Contains(got, "detail") {
			t.Errorf("%+v: %q", c.l, got)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Count(string(data), "hello") != 2 || strings.Count(string(data), "detail") != 1 {
		t.Errorf("appended: %q, %v", data, err)
	}
	for _, l := range []cli.Logging{{LogLevel: "loud"}, {LogLevel: "info", LogFile: filepath.Join(path, "below")}} {
		if _, _, err := l.Logger(&stderr); cli.Code("x", &stderr, err) != cli.Usage {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

package store_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/jobs"
	"oneflow/providers"
	"oneflow/store"
)

func TestTextThatPostgresRefusesIsStoredSanitisedWithItsRawBody(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	const bad = "nul \x00, bad \xff\xc0\x80, surrogate \xed\xa0\x80, good ü€😀"
	const want = "nul ␀, bad \uFFFD, surrogate \uFFFD, good ü€😀"
	raw := []byte("{\"text\":\"\\u0000\\ud800\"}\x00\xff")

	failing := w.running(t, nil)
	c := w.sent(t, failing, nil)
	err := w.SettleCall(ctx, jobs.Settlement{
		CallID: c.CallID, Outcome: jobs.CallUnknown, Kind: providers.Timeout, Message: bad, RequestID: bad, Body: raw,
		Usage: providers.Usage{Variant: bad, InputTokens: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.call(t, c.CallID); got.Error != want || got.RequestID != want {
		t.Errorf("%+v", got)
	}
	var body []byte
	if err := w.sql.QueryRow(ctx, `SELECT error_body FROM calls WHERE id = $1`, c.CallID).Scan(&body); err != nil || !bytes.Equal(body, raw) {
		t.Errorf("%q, %v", body, err)
	}

	j := w.running(t, nil)
	done := success(j, w.sent(t, j, nil), nil)
	done.Settlement.RequestID = bad
	done.Response = providers.Response{Provider: "mock", Model: bad, Text: bad, FinishReason: bad, RequestID: bad, Raw: raw, Status: 200, Usage: providers.Usage{Variant: bad}}
	if err := w.Succeed(ctx, done); err != nil {
		t.Fatal(err)
	}
	var text, model, reason, id string
	var sum []byte
	err = w.sql.QueryRow(ctx, `SELECT text, model, finish_reason, request_id, raw, raw_sha256 FROM results WHERE job_id = $1`, j.ID).
		Scan(&text, &model, &reason, &id, &body, &sum)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{want, want, want, want}, []string{text, model, reason, id}); diff != "" {
		t.Error(diff)
	}
	if wantSum := sha256.Sum256(raw); !bytes.Equal(body, raw) || !bytes.Equal(sum, wantSum[:]) {
		t.Errorf("raw %q, hash %x", body, sum)
	}
}

func TestOnePoisonOperationDoesNotHarmItsNeighbours(t *testing.T) {
	t.Parallel()
	w := newDatabase(t)
	ctx := t.Context()
	const n, poison = 60, 17
	all := make([]*jobs.Job, n)
	for i, d := range w.accept(t, n, nil) {
		all[i] = w.mustClaim(t, d)
	}
	calls := make([]jobs.Call, n)
	together(n, func(i int) {
		calls[i] = callOf(all[i], nano(10))
		if i == poison {
			calls[i].Model = "\x00" // text does not take it
		}
		if err := w.BeginCall(ctx, w.worker, calls[i]); (err == nil) != (i != poison) {
			t.Errorf("begin %d: %v", i, err)
		}
	})
	calls[poison].Model = "m"
	if err := w.BeginCall(ctx, w.worker, calls[poison]); err != nil {
		t.Fatal(err)
	}
	together(n, func(i int) {
		s := jobs.Settlement{CallID: calls[i].CallID, Outcome: jobs.CallFailedBilled, Cost: nano(10)}
		if i == poison {
			s.Outcome = "?" // a CHECK refuses it
		}
		if err := w.SettleCall(ctx, s); (err == nil) != (i != poison) {
			t.Errorf("settle %d: %v", i, err)
		}
	})
	together(n, func(i int) {
		if i%2 == 0 {
			done := success(all[i], w.sent(t, all[i], nano(5)), nano(5))
			if i == poison+1 {
				done.Artifacts = []jobs.Artifact{{MIME: "image/png", Size: 0}} // a CHECK refuses it
			}
			if err := w.Succeed(ctx, done); (err == nil) != (i != poison+1) {
				t.Errorf("succeed %d: %v", i, err)
			}
			return
		}
		e := jobs.Completion{JobID: all[i].ID, LeaseToken: all[i].LeaseToken, State: jobs.Failed, Class: "moderated"}
		if i == poison {
			e.Class = "" // a CHECK refuses it
		}
		if _, err := w.Complete(ctx, e); (err == nil) != (i != poison) {
			t.Errorf("end %d: %v", i, err)
		}
	})
	if got := w.count(t, `SELECT count(*) FROM job_states WHERE state = 'running'`); got != 2 {
		t.Errorf("%d jobs have not ended, want the two poisoned ones", got)
	}
	w.holds(t)
}

func FuzzSanitisedTextIsTakenAndReadable(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x00", "\xff\xfe", "\xed\xa0\x80", "a\x00b\xc3", "😀", "\uFFFD"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := store.Sanitise(text)
		if !valid(got) {
			t.Errorf("%q became %q, which Postgres refuses", text, got)
		}
		if valid(text) && got != text {
			t.Errorf("%q was changed to %q for nothing", text, got)
		}
		if again := store.Sanitise(got); again != got {
			t.Errorf("%q became %q, then %q", text, got, again)
		}
	})
}

// valid reports whether Postgres takes a text, said in another way than the code says it: what
// is not UTF-8 does not survive the way to code points and back.
func valid(text string) bool {
	return !strings.Contains(text, "\x00") && string([]rune(text)) == text
}

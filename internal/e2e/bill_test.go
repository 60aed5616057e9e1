//go:build bill

package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"oneflow/internal/fakeprovider"
	"oneflow/internal/harness"
	"oneflow/internal/media"
)

// mixed are so many jobs of all sorts, in turn, so that each sort is as frequent as its weight
// says, or as frequent as any other.
func mixed(jobs int, weighted bool) []map[string]any {
	schema := map[string]any{"type": "object", "properties": map[string]any{"n": map[string]any{"type": "integer"}}, "required": []string{"n"}, "additionalProperties": false}
	format := map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "schema": schema}}
	long := strings.Repeat("a long prompt that is kept by the vendor, ", 150)
	turns := func(text string) []map[string]any { return []map[string]any{{"role": "user", "content": text}} }
	kept := func(i int, cache any, text string) []map[string]any {
		system := fmt.Sprintf("you are no. %d of three that are kept for %v. %s", i%3, cache, long)
		return append([]map[string]any{{"role": "system", "content": []map[string]any{{"type": "text", "text": system, "cache": cache}}}}, turns(text)...)
	}
	sorts := []struct {
		weight int
		row    func(i int, text string) map[string]any
	}{
		{40, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "prompt": text, "max_tokens": 200}
		}},
		{8, func(i int, text string) map[string]any {
			return map[string]any{"provider": "openai", "prompt": text, "service_tier": []string{"flex", "priority"}[i%2]}
		}},
		{5, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "prompt": long + text, "n": 2}
		}},
		{8, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "endpoint": "/v1/responses", "body": map[string]any{"model": "gpt-5.6-luna", "input": text, "reasoning": map[string]any{"effort": "high"}}}
		}},
		{2, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "endpoint": "/v1/responses", "body": map[string]any{"model": "gpt-6-luna", "input": text, "tools": []map[string]any{{"type": "web_search"}}}}
		}},
		{3, func(_ int, text string) map[string]any {
			return map[string]any{"chain": []string{"openai", "anthropic"}, "endpoint": "/v1/responses", "body": map[string]any{"model": "gpt-6.1-terra", "input": long + text, "prompt_cache_options": map[string]any{"ttl": "12h"}}}
		}},
		{5, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "endpoint": "/v1/chat/completions", "body": map[string]any{
				"model": "gpt-audio", "messages": turns(text), "modalities": []string{"text", "audio"}, "audio": map[string]any{"voice": "alloy", "format": "wav"},
			}}
		}},
		{5, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "prompt": text, "response_format": format, "reask": 5}
		}},
		{4, func(_ int, text string) map[string]any {
			return map[string]any{"chain": []string{"outage", "openai"}, "prompt": text}
		}},
		{4, func(i int, _ string) map[string]any {
			return map[string]any{"provider": "openai", "prompt": fmt.Sprintf("asked before, no. %d", i%4), "cache_seconds": 3600, "cache_varied": true}
		}},
		{3, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "task": "image", "prompt": text, "quality": "low", "size": "1024x1024"}
		}},
		{1, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "endpoint": "/v1/images/edits", "body": map[string]any{"model": "gpt-image-2", "prompt": text, "quality": "low", "images": []map[string]any{{"image_url": "data:image/png;base64,iVBORw0KGgo="}}}}
		}},
		{2, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "task": "audio", "model": "gpt-4o-mini-tts", "prompt": text}
		}},
		{3, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "task": "transcription", "file": "sound.wav", "prompt": text}
		}},
		{8, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "openai", "task": "embedding", "input": text}
		}},
		{20, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "anthropic", "prompt": text, "max_tokens": 200}
		}},
		{8, func(i int, text string) map[string]any {
			return map[string]any{"provider": "anthropic", "messages": kept(i, "1h", text)}
		}},
		{4, func(i int, text string) map[string]any {
			return map[string]any{"provider": "anthropic", "messages": kept(i+7, true, text)}
		}},
		{2, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "anthropic", "prompt": text, "tools": []map[string]any{{"own": map[string]any{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}}}}
		}},
		{20, func(i int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "prompt": text, "service_tier": []string{"default", "flex"}[i%2]}
		}},
		{4, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "messages": []map[string]any{{"role": "user", "content": []map[string]any{{"type": "text", "text": text}, {"type": "audio", "file": "sound.wav"}, {"type": "image", "file": "picture.png"}}}}}
		}},
		{2, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "prompt": text, "tools": []map[string]any{{"own": map[string]any{"googleSearch": map[string]any{}}}}}
		}},
		{3, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "prompt": text, "response_format": format, "reask": 5}
		}},
		{2, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "model": "gemini-3.1-flash-image", "prompt": text}
		}},
		{3, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "task": "transcription", "file": "sound.wav", "prompt": text}
		}},
		{8, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "task": "embedding", "input": text}
		}},
		{2, func(i int, text string) map[string]any {
			return map[string]any{"provider": "gemini", "task": "video", "prompt": text, "size": []string{"1280x720", "1080x1920"}[i%2], "seconds": 8}
		}},
		{3, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "stability", "task": "image", "model": "core", "prompt": text}
		}},
		{3, func(_ int, text string) map[string]any {
			return map[string]any{"provider": "elevenlabs", "task": "audio", "model": "eleven_flash_v2_5", "voice": "21m00Tcm4TlvDq8ikWAM", "prompt": text}
		}},
	}
	var turn []int
	for sort, s := range sorts {
		if !weighted {
			s.weight = 1
		}
		for range s.weight {
			turn = append(turn, sort)
		}
	}
	order := rand.New(rand.NewPCG(1, 0)) // the same rows each time
	order.Shuffle(len(turn), func(i, k int) { turn[i], turn[k] = turn[k], turn[i] })
	rows := make([]map[string]any, jobs)
	for i := range rows {
		rows[i] = sorts[turn[i%len(turn)]].row(i, fmt.Sprintf("question no. %d of the bill", i))
		rows[i]["custom_id"] = fmt.Sprintf("m%d", i)
	}
	return rows
}

// charged is a call in the ledger.
type charged struct {
	Provider  string `json:"provider"`
	Model     string `json:"model"`
	RequestID string `json:"request_id"`
	State     string `json:"state"`
	Kind      string `json:"error_kind"`
	Cost      int64  `json:"cost"`
	Priced    bool   `json:"priced"`
}

func (sut *system) ledger() []charged {
	sut.t.Helper()
	var all []charged
	if err := json.Unmarshal([]byte(sut.text(`SELECT json_agg(c)::text FROM (SELECT provider, model, coalesce(request_id, '') AS request_id, state, coalesce(error_kind, '') AS error_kind,
		coalesce(cost_nano, 0) AS cost, cost_nano IS NOT NULL AS priced FROM calls) c`)), &all); err != nil {
		sut.t.Fatal(err)
	}
	return all
}

// TestTheBillOf2000MixedJobsIsTheVendorsToTheNanoDollar lets the fake vendors write bills of
// their own, by a table of their own, and holds the ledger against them, call by call.
func TestTheBillOf2000MixedJobsIsTheVendorsToTheNanoDollar(t *testing.T) {
	t.Parallel()
	compareBills(t, mixed(2000, true), map[fakeprovider.Fault]float64{
		fakeprovider.ServerError: 0.01, fakeprovider.Overloaded: 0.01, fakeprovider.RateLimited: 0.001, fakeprovider.OffSchema: 0.2, fakeprovider.Moderated: 0.01,
		fakeprovider.ResetAfter: 0.005, fakeprovider.Truncated: 0.005, fakeprovider.BadGateway: 0.005, fakeprovider.Garbage: 0.002, fakeprovider.Refused: 0.005,
	})
}

// TestTheBillOfJobsThatFailOftenIsTheVendors has each sort as often as any other, and each fault
// so often that most meetings of the two happen in a run or two.
func TestTheBillOfJobsThatFailOftenIsTheVendors(t *testing.T) {
	t.Parallel()
	compareBills(t, mixed(280, false), map[fakeprovider.Fault]float64{
		fakeprovider.ServerError: 0.05, fakeprovider.Overloaded: 0.05, fakeprovider.RateLimited: 0.02, fakeprovider.OffSchema: 0.05, fakeprovider.Moderated: 0.04,
		fakeprovider.ResetAfter: 0.04, fakeprovider.Truncated: 0.04, fakeprovider.BadGateway: 0.05, fakeprovider.Garbage: 0.04, fakeprovider.Refused: 0.04,
	})
}

// billSeed returns the number that decides which calls fail: ONEFLOW_BILL_SEED, to see a failure
// again, or one by chance.
func billSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64N(1 << 32)
	if text := os.Getenv("ONEFLOW_BILL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("ONEFLOW_BILL_SEED: %v", err)
		}
	}
	t.Logf("ONEFLOW_BILL_SEED=%d has the same calls fail", seed)
	return seed
}

// compareBills runs jobs at vendors that fail so often, and compares what they charge with what
// the ledger holds.
func compareBills(t *testing.T, rows []map[string]any, faults map[fakeprovider.Fault]float64) {
	t.Helper()
	down, err := harness.Provider(fakeprovider.Config{Default: fakeprovider.Behaviour{Faults: map[fakeprovider.Fault]float64{fakeprovider.Unavailable: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = down.Close() })
	sut, server := vendorsOf(t, fakeprovider.Config{Keep: -1, VideoPolls: 1, Seed: billSeed(t), Default: fakeprovider.Behaviour{Faults: faults}},
		fmt.Sprintf("  outage: {kind: openai, base_url: %s/openai/v1, models: {text: gpt-6-luna}, latency: 10ms}\n", down.URL))
	sut.Env = append(sut.Env, "OUTAGE_API_KEY="+canaryKey+"-outage")
	sut.workerOf("outage")
	sut.sound()
	picture, err := media.PNG(3, 32, 32)
	if err == nil {
		err = os.WriteFile(filepath.Join(sut.Dir, "picture.png"), picture, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	sut.run(0, "enqueue", "batch", sut.file("rows.jsonl", rows), "--batch-id", "mixed")
	sut.untilWithin(4*time.Minute, "the batch to finish", func() bool {
		return int(sut.number(`SELECT count(*) FROM job_states WHERE finished_at IS NOT NULL`)) == len(rows)
	})

	calls, bills := sut.ledger(), map[string]fakeprovider.Bill{}
	byAmount := map[string]int{} // of bills without an id in their answer
	for _, b := range server.Bills() {
		if !b.Known {
			t.Fatalf("the vendors' table has no %s of %s", b.Model, b.Vendor)
		}
		lost := b.Outcome == string(fakeprovider.ResetAfter) || b.Outcome == string(fakeprovider.Truncated) || b.Outcome == string(fakeprovider.Garbage)
		if b.Model == "gemini-embedding-2" && !lost {
			byAmount[fmt.Sprint(b.Vendor, b.NanoUSD)]++
			continue
		}
		bills[fmt.Sprint(b.Vendor, " ", b.ID)] = b
	}
	ours, theirs := map[string]int64{}, map[string]int64{}
	var differences []string
	unknown := 0
	for _, c := range calls {
		vendor := c.Provider // that of the outage bills nothing, and has ids of its own
		key := fmt.Sprint(vendor, " ", c.RequestID)
		b, billed := bills[key]
		amount := fmt.Sprint(vendor, c.Cost)
		switch {
		case billed && c.State == "unknown": // its head came, and its answer did not
			unknown++
			differences = append(differences, fmt.Sprintf("%s %s %s: unknown: the vendor's %d (%s)", vendor, c.Model, c.RequestID, b.NanoUSD, b.Outcome))
			delete(bills, key)
		case billed && c.Kind == "malformed_response": // charged at its bound, as nobody can read it
			differences = append(differences, fmt.Sprintf("%s %s %s: cannot be read: ours %d, the vendor's %d", vendor, c.Model, c.RequestID, c.Cost, b.NanoUSD))
			if c.Cost < b.NanoUSD {
				t.Errorf("%s is more than its bound", differences[len(differences)-1])
			}
			delete(bills, key)
		case billed:
			ours[vendor], theirs[vendor] = ours[vendor]+c.Cost, theirs[vendor]+b.NanoUSD
			if c.Cost != b.NanoUSD || !c.Priced {
				t.Errorf("%s %s %s (%s): ours %d (priced %v), the vendor's %d for %+v", vendor, c.Model, c.RequestID, c.State, c.Cost, c.Priced, b.NanoUSD, b.Units)
			}
			delete(bills, key)
		case c.Cost > 0 && byAmount[amount] > 0:
			byAmount[amount]--
			ours[vendor], theirs[vendor] = ours[vendor]+c.Cost, theirs[vendor]+c.Cost
		case c.State == "unknown":
			unknown++
		case c.Cost > 0 && c.Kind == "malformed_response": // Google names its id in the body alone
			differences = append(differences, fmt.Sprintf("%s %s: cannot be read: ours %d", vendor, c.Model, c.Cost))
		case c.Cost > 0:
			t.Errorf("%s %s %q (%s, %s): ours %d, and the vendor knows nothing of it", vendor, c.Model, c.RequestID, c.State, c.Kind, c.Cost)
		}
	}
	for _, b := range bills {
		differences = append(differences, fmt.Sprintf("%s %s %s: lost on its way (%s): the vendor's %d", b.Vendor, b.Model, b.ID, b.Outcome, b.NanoUSD))
		if b.Outcome != "reset_after" && b.Outcome != "truncated" && b.Outcome != "garbage" {
			t.Error(differences[len(differences)-1])
		}
	}
	for amount, n := range byAmount {
		if n > 0 {
			t.Errorf("%d bills of %s are in no ledger", n, amount)
		}
	}
	for vendor, sum := range ours {
		t.Logf("%s: ours %d, the vendor's %d nano-dollars", vendor, sum, theirs[vendor])
		if sum != theirs[vendor] || sum == 0 {
			t.Errorf("%s: ours %d, the vendor's %d", vendor, sum, theirs[vendor])
		}
	}
	t.Logf("%d calls, %d of them unknown; %d differences:\n%s", len(calls), unknown, len(differences), strings.Join(differences, "\n"))
	if len(ours) != 5 || unknown == 0 || len(differences) == 0 {
		t.Errorf("%d vendors, %d calls whose outcome is not known, %d differences: this test has shown little", len(ours), unknown, len(differences))
	}
	sut.addsUp(rows)
}

// addsUp holds the sums of the mixed jobs together.
func (sut *system) addsUp(rows []map[string]any) {
	sut.t.Helper()
	if said := sut.text(`SELECT coalesce(string_agg(provider || ' ' || model || ' ' || cost_nano || ' > ' || coalesce(reserved_nano, 0), ', '), '') FROM calls WHERE cost_nano > coalesce(reserved_nano, 0)`); said != "" {
		sut.t.Errorf("calls cost more than was reserved for them: %s", said)
	}
	if n := sut.number(`SELECT (SELECT sum(cost_nano) FROM calls)::bigint - (SELECT sum(cost_nano) FROM job_states)::bigint`); n != 0 {
		sut.t.Errorf("the jobs' costs and their calls' differ by %d nano-dollars", n)
	}
	for what, sql := range map[string]string{
		"answers from the cache":             `SELECT count(*) FROM results WHERE cached`,
		"answers off their schema":           `SELECT count(*) FROM calls WHERE error_kind = 'schema'`,
		"calls that failed and cost nothing": `SELECT count(*) FROM calls WHERE state = 'failed_unbilled'`,
		"fallbacks":                          `SELECT count(*) FROM job_states s JOIN jobs j ON j.id = s.job_id WHERE j.provider = 'outage' AND s.state = 'succeeded'`,
		"films":                              `SELECT count(*) FROM artifacts WHERE mime = 'video/mp4'`,
		"sounds in chats":                    `SELECT count(*) FROM calls WHERE model = 'gpt-audio' AND state = 'succeeded'`,
		"caches of an hour":                  `SELECT count(*) FROM calls WHERE (usage->>'cache_write_1h_tokens')::bigint > 0`,
		"caches of 12 hours":                 `SELECT count(*) FROM calls WHERE usage->>'variant' = '12h' AND (usage->>'cache_write_tokens')::bigint > 0`,
		"searches of the web":                `SELECT count(*) FROM calls WHERE (usage->>'web_searches')::bigint > 0`,
		"reasoning":                          `SELECT count(*) FROM calls WHERE (usage->>'reasoning_tokens')::bigint > 0`,
		"tiers":                              `SELECT count(*) FROM calls WHERE usage->>'tier' IN ('flex', 'priority')`,
	} {
		if len(rows) >= 2000 && sut.number(sql) == 0 {
			sut.t.Errorf("there were no %s: this test has shown nothing of them", what)
		}
	}
	// A job fails where it is refused, where its answer was paid for and cannot be read, and where
	// its call was lost twice. Nothing else may come of so few faults.
	if said := sut.text(`SELECT coalesce(string_agg(s.state || ' ' || coalesce(s.error_class, '') || ' ' || coalesce(j.custom_id, '') || ' ' || coalesce(left(s.error_message, 200), ''), E'\n'), '')
		FROM job_states s JOIN jobs j ON j.id = s.job_id
		WHERE s.state NOT IN ('succeeded', 'unknown') AND s.error_class NOT IN ('moderated', 'malformed_response', 'schema')`); said != "" {
		sut.t.Errorf("jobs of %d that failed for another reason:\n%s", len(rows), said)
	}
}

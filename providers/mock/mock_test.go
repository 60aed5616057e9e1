package mock_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/mock"
	"oneflow/providers/providertest"
)

// quick is a mock that does not wait.
func quick(t *testing.T, change func(*mock.Config)) *mock.Provider {
	t.Helper()
	config := mock.Config{Latency: -1}
	if change != nil {
		change(&config)
	}
	p, err := mock.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func generate(t *testing.T, p *mock.Provider, req providers.Request) providers.Response {
	t.Helper()
	res, err := p.Generate(t.Context(), req)
	if err != nil {
		t.Fatalf("%+v: %v", req, err)
	}
	return res
}

// failure returns the error of a call that must fail.
func failure(ctx context.Context, t *testing.T, p *mock.Provider, req providers.Request) *providers.Error {
	t.Helper()
	_, err := p.Generate(ctx, req)
	e, ok := errors.AsType[*providers.Error](err)
	if !ok {
		t.Fatalf("%+v: want a *providers.Error, got %v", req, err)
	}
	return e
}

func TestTheSameRequestGetsTheSameAnswerAndAnotherAnother(t *testing.T) {
	t.Parallel()
	seed := int64(7)
	for _, task := range providers.Tasks() {
		req := providertest.Least(providers.Request{Task: task, Prompt: "a lighthouse"})
		a, b := generate(t, quick(t, nil), req), generate(t, quick(t, nil), req)
		a.Latency, b.Latency = 0, 0
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s: two answers to one request:\n%s", task, diff)
		}
		if req.Seed = &seed; task == providers.Embedding || task == providers.Transcription {
			req.Seed, req.Prompt = nil, "a pier" // they know no seed
		}
		c := generate(t, quick(t, nil), req)
		if c.Text == a.Text && cmp.Equal(c.Blobs, a.Blobs) && cmp.Equal(c.Vector, a.Vector) {
			t.Errorf("%s: another seed changed nothing", task)
		}
		if a.Provider != "mock" || a.Model != "mock-"+string(task) || a.Status != 200 || a.RequestID == "" {
			t.Errorf("%s: %+v", task, a)
		}
	}
}

func TestTextUsageIsAQuarterOfItsBytes(t *testing.T) {
	t.Parallel()
	p := quick(t, nil)
	req := providers.Request{Task: providers.Text, System: "12345", Prompt: "über 1234"} // 5 and 10 bytes
	res := generate(t, p, req)
	want := providers.Usage{InputTokens: 2 + 3, OutputTokens: int64((len(res.Text) + 3) / 4)}
	if diff := cmp.Diff(want, res.Usage); diff != "" {
		t.Error(diff)
	}
	req = providers.Request{Task: providers.Text, Messages: []providers.Message{{Role: "user", Content: "12345"}, {Role: "assistant", Content: "1"}}}
	if got := generate(t, p, req).Usage.InputTokens; got != 2+1 {
		t.Errorf("messages: %d input tokens, want 3", got)
	}
}

func TestTextHasTheShapeOfAChatCompletion(t *testing.T) {
	t.Parallel()
	res := generate(t, quick(t, nil), providers.Request{Task: providers.Text, Prompt: "secret prompt"})
	var raw struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Model   string `json:"model"`
		Choices []struct {
			Message      map[string]string `json:"message"`
			FinishReason string            `json:"finish_reason"`
		} `json:"choices"`
		Usage map[string]int64 `json:"usage"`
	}
	if err := json.Unmarshal(res.Raw, &raw); err != nil {
		t.Fatal(err)
	}
	if raw.ID != res.RequestID || raw.Object != "chat.completion" || raw.Model != "mock-text" || len(raw.Choices) != 1 ||
		raw.Choices[0].Message["content"] != res.Text || raw.Choices[0].FinishReason != "stop" ||
		raw.Usage["prompt_tokens"] != res.Usage.InputTokens || raw.Usage["completion_tokens"] != res.Usage.OutputTokens {
		t.Errorf("raw body %s does not fit %+v", res.Raw, res)
	}
	if bytes.Contains(res.Raw, []byte("secret")) {
		t.Error("the answer repeats the prompt")
	}
}

func TestTextVariesInLengthAndObeysMaxTokensAndStop(t *testing.T) {
	t.Parallel()
	p := quick(t, nil)
	lengths := map[int]bool{}
	for i := range 50 {
		prompt := fmt.Sprint("question ", i)
		lengths[len(generate(t, p, providers.Request{Task: providers.Text, Prompt: prompt}).Text)] = true
		short := generate(t, p, providers.Request{Task: providers.Text, Prompt: prompt, MaxTokens: 3})
		if len(short.Text) > 12 || short.Usage.OutputTokens > 3 || short.FinishReason != "length" {
			t.Errorf("max_tokens 3 gave %q, %s", short.Text, short.FinishReason)
		}
		stopped := generate(t, p, providers.Request{Task: providers.Text, Prompt: prompt, Stop: []string{".", "e"}})
		if strings.ContainsAny(stopped.Text, ".e") || stopped.FinishReason != "stop" {
			t.Errorf("stop gave %q, %s", stopped.Text, stopped.FinishReason)
		}
	}
	if len(lengths) < 25 {
		t.Errorf("50 answers have %d lengths only", len(lengths))
	}
}

func TestJSONIsValidAndFitsItsSchema(t *testing.T) {
	t.Parallel()
	p := quick(t, nil)
	res := generate(t, p, providers.Request{Task: providers.Text, Prompt: "a", ResponseFormat: &providers.ResponseFormat{Type: "json_object"}})
	if !json.Valid([]byte(res.Text)) {
		t.Errorf("json_object gave %q", res.Text)
	}
	schema := `{"type":"object","properties":{"name":{"type":["string","null"]},"age":{"type":"integer"},
		"kind":{"enum":["cat"]},"tags":{"type":"array","items":{"type":"boolean"}},"it":{"const":1}}}`
	res = generate(t, p, providers.Request{Task: providers.Text, Prompt: "a", ResponseFormat: &providers.ResponseFormat{
		Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "pet", Schema: json.RawMessage(schema)},
	}})
	var pet struct {
		Name string `json:"name"`
		Age  int    `json:"age"`
		Kind string `json:"kind"`
		Tags []bool `json:"tags"`
		It   int    `json:"it"`
	}
	decoder := json.NewDecoder(strings.NewReader(res.Text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&pet); err != nil || pet.Name == "" || pet.Kind != "cat" || len(pet.Tags) != 2 || pet.It != 1 {
		t.Errorf("schema gave %q: %+v, %v", res.Text, pet, err)
	}
}

func TestPicturesAreRealAndCounted(t *testing.T) {
	t.Parallel()
	res := generate(t, quick(t, nil), providers.Request{Task: providers.Image, Prompt: "a fox", Size: "120x90", N: 3})
	if diff := cmp.Diff(providers.Usage{Images: 3, Variant: "120x90"}, res.Usage); diff != "" {
		t.Error(diff)
	}
	if len(res.Blobs) != 3 || bytes.Equal(res.Blobs[0].Data, res.Blobs[1].Data) {
		t.Fatal("want three different pictures")
	}
	for _, blob := range res.Blobs {
		img, err := png.Decode(bytes.NewReader(blob.Data))
		if err != nil || img.Bounds().Dx() != 120 || img.Bounds().Dy() != 90 || blob.MIME != "image/png" {
			t.Errorf("%s: %v", blob.MIME, err)
		}
	}
	if got := generate(t, quick(t, nil), providers.Request{Task: providers.Image, Prompt: "a fox"}).Usage.Variant; got != "64x64" {
		t.Errorf("default size %s", got)
	}
}

func TestSoundIsRealGrowsWithTheTextAndCountsCharacters(t *testing.T) {
	t.Parallel()
	samples := func(prompt string) int {
		res := generate(t, quick(t, nil), providers.Request{Task: providers.Audio, Prompt: prompt})
		if got := res.Usage; got != (providers.Usage{Characters: int64(utf8.RuneCountInString(prompt))}) {
			t.Errorf("%q: %+v", prompt, got)
		}
		data := res.Blobs[0].Data
		if string(data[:4]) != "RIFF" || binary.LittleEndian.Uint32(data[24:]) != 8000 || binary.LittleEndian.Uint16(data[34:]) != 16 {
			t.Fatalf("not a WAV file of 8 kHz and 16 bits: % x", data[:44])
		}
		return int(binary.LittleEndian.Uint32(data[40:])) / 2
	}
	if got := samples("Grüße 👋 "); got != 8*160 {
		t.Errorf("8 characters: %d samples", got)
	}
	if got := samples(strings.Repeat("long ", 100)); got != 16000 {
		t.Errorf("500 characters: %d samples, want 2 s", got)
	}
}

func TestFilmIsAnMP4OfTheLengthAskedFor(t *testing.T) {
	t.Parallel()
	res := generate(t, quick(t, nil), providers.Request{Task: providers.Video, Prompt: "waves", Seconds: 3, Size: "64x48"})
	if diff := cmp.Diff(providers.Usage{MilliSeconds: 3000, Variant: "64x48"}, res.Usage); diff != "" {
		t.Error(diff)
	}
	if data := res.Blobs[0].Data; string(data[4:8]) != "ftyp" || !bytes.Contains(data, []byte("moov")) {
		t.Errorf("not an MP4 file: % x", data[:16])
	}
}

func TestWhatItsCapabilitiesRefuseFailsForGood(t *testing.T) {
	t.Parallel()
	e := failure(t.Context(), t, quick(t, nil), providers.Request{Task: providers.Image, Prompt: "a fox", Size: "9000x1"})
	if e.Kind != providers.InvalidRequest || e.Kind.Reaction() != providers.Final || e.Billing != providers.Unbilled {
		t.Errorf("%+v", e)
	}
	if !bytes.Contains(e.Body, []byte("each from 1 to 1024")) {
		t.Errorf("body %s does not tell the way out", e.Body)
	}
}

func TestConfigThatMakesNoSenseIsRefusedByField(t *testing.T) {
	t.Parallel()
	for field, config := range map[string]mock.Config{
		"Name":          {Name: "a "},
		"LatencyJitter": {LatencyJitter: 1.5},
		"ErrorRate":     {ErrorRate: -0.1},
		"RPM":           {RPM: -1},
		"MaxConcurrent": {MaxConcurrent: -1},
		"CallLog":       {CallLog: filepath.Join(t.TempDir(), "none", "log")},
	} {
		if _, err := mock.New(config); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestLatencyHasTheMeanAndStaysInItsJitter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := quick(t, func(c *mock.Config) { c.Latency, c.LatencyJitter = 100*time.Millisecond, 0.2 })
		start, n := time.Now(), 300
		for i := range n {
			got := generate(t, p, providers.Request{Task: providers.Text, Prompt: fmt.Sprint(i)}).Latency
			if got < 80*time.Millisecond || got > 120*time.Millisecond {
				t.Errorf("call %d took %v", i, got)
			}
		}
		if mean := time.Since(start) / time.Duration(n); mean < 97*time.Millisecond || mean > 103*time.Millisecond {
			t.Errorf("mean %v", mean)
		}
	})
}

func TestACallThatIsGivenUpMayHaveBeenBilled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := quick(t, func(c *mock.Config) { c.Latency = time.Hour })
		req := providers.Request{Task: providers.Text, Prompt: "a"}

		deadline, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		if e := failure(deadline, t, p, req); e.Kind != providers.Timeout || e.Billing != providers.BillingUnknown || !e.Sent {
			t.Errorf("deadline: %+v", e)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if e := failure(cancelled, t, p, req); e.Kind != providers.Cancelled || e.Billing != providers.BillingUnknown || !e.Sent {
			t.Errorf("cancelled: %+v", e)
		}
		if e := failure(cancelled, t, p, req); e.Kind != providers.Cancelled || e.Billing != providers.Unbilled || e.Sent {
			t.Errorf("cancelled before: %+v", e)
		}
	})
}

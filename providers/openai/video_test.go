package openai_test

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
)

// films serves one film, whose looks are answered by script in turn, the last for ever.
func films(t *testing.T, content http.HandlerFunc, script ...http.HandlerFunc) *providertest.Recorder {
	t.Helper()
	looks := 0
	return providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/content"):
			content(w, r)
		default: // one call at a time
			script[min(looks, len(script)-1)](w, r)
			looks++
		}
	})
}

func status(word string) http.HandlerFunc {
	return saysJSON(`{"id":"video_1","object":"video","model":"wan-2","status":"` + word + `","seconds":"4","size":"640x360","prompt":"` + prompt + `"}`)
}

func filmContent(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, mp4) }

func TestAFilmIsOrderedOnceAndAwaited(t *testing.T) {
	t.Parallel()
	s := films(t, filmContent, status("queued"), status("in_progress"), says(http.StatusBadGateway, "text/html", "<html>"),
		says(http.StatusOK, "text/html", "<html>"), status("completed"))
	req := providers.Request{
		Task: providers.Video, Model: "wan", Prompt: prompt, Size: "640x360", Seconds: 4, Seed: new(int64(7)), NegativePrompt: "rain",
		AspectRatio: "16:9", Extra: map[string]json.RawMessage{"fps": json.RawMessage(`16`), "note": json.RawMessage(`"x"`)},
	}
	got := providertest.Generate(t, provider(t, s, compatible), req)
	var methods []string
	for _, c := range s.Requests() {
		methods = append(methods, c.Method+" "+c.URL)
	}
	want := []string{
		"POST /v1/videos", "GET /v1/videos/video_1", "GET /v1/videos/video_1", "GET /v1/videos/video_1",
		"GET /v1/videos/video_1", "GET /v1/videos/video_1/content",
	}
	if diff := cmp.Diff(want, methods); diff != "" {
		t.Errorf("calls differ (-want +got):\n%s", diff)
	}
	order := s.Requests()[0]
	_, params, err := mime.ParseMediaType(order.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	form, err := multipart.NewReader(bytes.NewReader(order.Body), params["boundary"]).ReadForm(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{
		"model": {"wan"}, "prompt": {prompt}, "size": {"640x360"}, "seconds": {"4"}, "seed": {"7"},
		"negative_prompt": {"rain"}, "aspect_ratio": {"16:9"}, "fps": {"16"}, "note": {"x"},
	}, form.Value); diff != "" {
		t.Errorf("form differs (-want +got):\n%s", diff)
	}
	if len(got.Blobs) != 1 || got.Blobs[0].MIME != "video/mp4" || string(got.Blobs[0].Data) != mp4 {
		t.Errorf("blobs = %q", got.Blobs)
	}
	if got.Model != "wan-2" || got.RequestID != "video_1" || got.FinishReason != "completed" ||
		got.Usage != (providers.Usage{MilliSeconds: 4000, Variant: "640x360"}) || got.Latency <= 0 {
		t.Errorf("response = %+v", got)
	}
}

func TestAFilmIsOrderedAsJSONWhereAsked(t *testing.T) {
	t.Parallel()
	s := films(t, filmContent, status("completed"))
	req := video()
	req.Seconds = 8
	req.Extra = map[string]json.RawMessage{"duration": json.RawMessage(`8`)}
	providertest.Generate(t, provider(t, s, compatible, func(c *openai.Config) { c.VideosAsJSON = true }), req)
	if got := s.Requests()[0].Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q", got)
	}
	sameJSON(t, s.Requests()[0].Body, `{"prompt":"canary of the prompt","seconds":"8","duration":8}`)
}

func TestAFilmThatIsNotHadIsAFailure(t *testing.T) {
	t.Parallel()
	down := says(http.StatusInternalServerError, "application/json", `{}`)
	for name, tt := range map[string]struct {
		content http.HandlerFunc
		script  []http.HandlerFunc
		kind    providers.Kind
		billing providers.Billing
		orders  int
	}{
		"not ordered":     {filmContent, []http.HandlerFunc{down}, providers.Overloaded, providers.Unbilled, 1},
		"no id":           {filmContent, []http.HandlerFunc{saysJSON(`{}`)}, providers.MalformedResponse, providers.Billed, 1},
		"an id of dots":   {filmContent, []http.HandlerFunc{saysJSON(`{"id":"..","status":"queued"}`)}, providers.MalformedResponse, providers.Billed, 1},
		"failed at once":  {filmContent, []http.HandlerFunc{status("failed")}, providers.Unknown, providers.BillingUnknown, 1},
		"failed":          {filmContent, []http.HandlerFunc{status("queued"), status("failed")}, providers.Unknown, providers.BillingUnknown, 2},
		"moderated":       {filmContent, []http.HandlerFunc{status("queued"), saysJSON(`{"id":"video_1","status":"failed","error":{"code":"moderation_blocked","message":"` + prompt + `"}}`)}, providers.Moderated, providers.Unbilled, 2},
		"forgotten":       {filmContent, []http.HandlerFunc{status("queued"), says(http.StatusNotFound, "application/json", `{}`)}, providers.Unknown, providers.BillingUnknown, 6},
		"out of sight":    {filmContent, []http.HandlerFunc{status("queued"), down}, providers.Overloaded, providers.BillingUnknown, 6},
		"no content":      {says(http.StatusNotFound, "application/json", `{}`), []http.HandlerFunc{status("completed")}, providers.NotFound, providers.Billed, 1},
		"content is down": {down, []http.HandlerFunc{status("completed")}, providers.Overloaded, providers.Billed, 1},
		"other content":   {saysJSON(`{}`), []http.HandlerFunc{status("completed")}, providers.MalformedResponse, providers.Billed, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := films(t, tt.content, tt.script...)
			e := failure(t, provider(t, s, compatible), video())
			if e.Kind != tt.kind || e.Billing != tt.billing || !e.Sent {
				t.Errorf("error = %+v", e)
			}
			orders, looks := 0, 0
			for _, c := range s.Requests() {
				if c.Method == http.MethodPost {
					orders++
				} else if !strings.HasSuffix(c.URL, "/content") {
					looks++
				}
			}
			if orders != 1 || orders+looks != tt.orders {
				t.Errorf("%d orders and %d looks, want 1 order of %d calls", orders, looks, tt.orders)
			}
			if tt.billing == providers.Billed && !strings.Contains(name, "id") && e.Usage.MilliSeconds != 4000 {
				t.Errorf("usage = %+v", e.Usage)
			}
		})
	}
}

func TestContextBoundsTheWaitForAFilm(t *testing.T) {
	t.Parallel()
	ctx, end := providertest.Due(t.Context())
	s := films(t, filmContent, status("queued"), func(w http.ResponseWriter, r *http.Request) {
		status("queued")(w, r)
		end()
	})
	_, err := provider(t, s, compatible).Generate(ctx, video())
	e := providers.AsError("mine", err)
	if e.Kind != providers.Timeout || e.Billing != providers.BillingUnknown || e.RequestID != "video_1" || !e.Sent {
		t.Errorf("error = %+v", e)
	}
}

func TestOddNumbersDoNotCostAFilm(t *testing.T) {
	t.Parallel()
	for _, n := range []string{"1e30", "-4", `"NaN"`, `"Inf"`, "99999999999999999999", `"x"`, "[]", "true"} {
		s := films(t, filmContent, saysJSON(`{"id":"video_1","status":"completed","seconds":`+n+`,"size":`+n+`,"model":`+n+`,"progress":`+n+`}`))
		req := video()
		req.Seconds = 4
		got := providertest.Generate(t, provider(t, s, compatible), req)
		if got.Usage.MilliSeconds != 4000 || !got.Usage.Implausible || len(got.Blobs) != 1 {
			t.Errorf("%s: got %+v", n, got.Usage)
		}
	}
}

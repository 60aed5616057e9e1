package openai_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/providertest"
)

func TestPicturesAreAskedForInOpenAIsWords(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		req  providers.Request
		want string
	}{
		"the least": {image(), `{"model":"gpt-image-2","prompt":"canary of the prompt"}`},
		"everything": {
			providers.Request{
				Task: providers.Image, Model: "gpt-image-1.5", Prompt: prompt, N: 2, Size: "1536x1024", Quality: "high",
				Background: "transparent", OutputFormat: "webp",
				Extra: map[string]json.RawMessage{"moderation": json.RawMessage(`"low"`), "output_compression": json.RawMessage(`80`)},
			},
			`{"model":"gpt-image-1.5","prompt":"canary of the prompt","n":2,"size":"1536x1024","quality":"high",
			"background":"transparent","output_format":"webp","moderation":"low","output_compression":80}`,
		},
		"dall-e": {
			providers.Request{Task: providers.Image, Model: "dall-e-3", Prompt: prompt, N: 1, Size: "1792x1024", Quality: "hd", Style: "vivid"},
			`{"model":"dall-e-3","prompt":"canary of the prompt","n":1,"size":"1792x1024","quality":"hd","style":"vivid","response_format":"b64_json"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(`{"created":1,"data":[{"b64_json":"`+png64+`"}]}`))
			providertest.Generate(t, provider(t, s), tt.req)
			calls := s.Requests()
			if len(calls) != 1 || calls[0].URL != "/v1/images/generations" {
				t.Fatalf("calls = %+v", calls)
			}
			sameJSON(t, calls[0].Body, tt.want)
		})
	}
}

func TestPicturesComeBack(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		req   providers.Request
		body  string
		model string
		usage providers.Usage
		n     int
	}{
		"gpt-image": {
			image(),
			`{"created":1,"size":"1024x1024","quality":"low","data":[{"b64_json":"` + png64 + `"},{"b64_json":"` + png64 + `"}],
			"usage":{"input_tokens":50,"output_tokens":300,"total_tokens":350,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}`,
			"gpt-image-2",
			providers.Usage{InputTokens: 10, ImageInputTokens: 40, ImageOutputTokens: 300, Images: 2},
			2,
		},
		"text beside the picture": {
			image(),
			`{"data":[{"b64_json":"` + png64 + `"}],"usage":{"input_tokens":50,"output_tokens":300,
			"output_tokens_details":{"text_tokens":100,"image_tokens":200}}}`,
			"gpt-image-2",
			providers.Usage{InputTokens: 50, OutputTokens: 100, ImageOutputTokens: 200, Images: 1},
			1,
		},
		"dall-e's defaults": {
			providers.Request{Task: providers.Image, Model: "dall-e-3", Prompt: prompt},
			`{"data":[{"b64_json":"` + png64 + `","revised_prompt":"x"}]}`,
			"dall-e-3",
			providers.Usage{Images: 1, Variant: "1024x1024/standard"},
			1,
		},
		"dall-e as asked": {
			providers.Request{Task: providers.Image, Model: "dall-e-3", Prompt: prompt, Size: "1024x1792", Quality: "hd"},
			`{"data":[{"b64_json":"` + png64 + `"}]}`,
			"dall-e-3",
			providers.Usage{Images: 1, Variant: "1024x1792/hd"},
			1,
		},
		"a model that is named": {
			providers.Request{Task: providers.Image, Model: "flux", Prompt: prompt, Size: "64x64"},
			`{"model":"flux-1","data":[{"b64_json":"` + png64 + `"}]}`, "flux-1",
			providers.Usage{Images: 1},
			1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(tt.body))
			got := providertest.Generate(t, provider(t, s), tt.req)
			if diff := cmp.Diff(tt.usage, got.Usage); diff != "" {
				t.Errorf("usage differs (-want +got):\n%s", diff)
			}
			if len(got.Blobs) != tt.n || got.Blobs[0].MIME != "image/png" || string(got.Blobs[0].Data) != png {
				t.Errorf("blobs = %q", got.Blobs)
			}
			if got.Model != tt.model || string(got.Raw) != tt.body || got.RequestID != "req_1" {
				t.Errorf("response = %+v", got)
			}
		})
	}
}

func TestADrawingIsAPicture(t *testing.T) {
	t.Parallel()
	drawing := `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>`
	s := providertest.Serve(t, saysJSON(`{"data":[{"b64_json":"`+base64.StdEncoding.EncodeToString([]byte(drawing))+`"}]}`))
	req := image()
	req.OutputFormat = "svg"
	if got := providertest.Generate(t, provider(t, s), req); got.Blobs[0].MIME != "image/svg+xml" {
		t.Errorf("MIME = %q", got.Blobs[0].MIME)
	}
}

func TestPicturesAreFetchedFromACompatibleServerOnly(t *testing.T) {
	t.Parallel()
	var address string
	s := providertest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/picture.png":
			_, _ = io.WriteString(w, png)
		case "/gone.png":
			http.NotFound(w, r)
		default:
			saysJSON(`{"data":[{"url":"`+address+`"}]}`)(w, r)
		}
	})
	req := image()
	req.Model = "dall-e-3"

	address = s.URL + "/picture.png"
	got := providertest.Generate(t, provider(t, s, compatible), req)
	if string(got.Blobs[0].Data) != png {
		t.Errorf("blobs = %q", got.Blobs)
	}
	if fetch := s.Requests()[1]; fetch.URL != "/picture.png" || fetch.Header.Get("Authorization") != "" {
		t.Errorf("the picture was fetched with %+v", fetch)
	}

	e := failure(t, provider(t, s), req) // a private address, by somebody else's word
	if e.Kind != providers.Unreadable || e.Billing != providers.Billed || e.Usage.Images != 1 || !e.Sent {
		t.Errorf("error = %+v", e)
	}
	address = s.URL + "/gone.png"
	e = failure(t, provider(t, s, compatible), req)
	if e.Kind != providers.Unreadable || e.Billing != providers.Billed || e.Usage.Variant != "1024x1024/standard" {
		t.Errorf("error = %+v", e)
	}
}

func TestPicturesThatAreNoUseAreAFailure(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		body    string
		kind    providers.Kind
		billing providers.Billing
	}{
		"nothing at all":  {`{}`, providers.MalformedResponse, providers.Billed},
		"no data":         {`{"data":[]}`, providers.Unreadable, providers.Billed},
		"data of a kind":  {`{"data":{"b64_json":"` + png64 + `"}}`, providers.Unreadable, providers.Billed},
		"a page":          {`<html>` + prompt, providers.NotFound, providers.Unbilled},
		"no picture":      {`{"data":[{}]}`, providers.Unreadable, providers.Billed},
		"not base 64":     {`{"data":[{"b64_json":"@@@"}]}`, providers.Unreadable, providers.Billed},
		"not a picture":   {`{"data":[{"b64_json":"` + base64.StdEncoding.EncodeToString([]byte(prompt)) + `"}]}`, providers.Unreadable, providers.Billed},
		"one of two only": {`{"data":[{"b64_json":"` + png64 + `"},{"b64_json":""}]}`, providers.Unreadable, providers.Billed},
		"a file":          {`{"data":[{"url":"file:///etc/passwd"}]}`, providers.Unreadable, providers.Billed},
		"a private place": {`{"data":[{"url":"http://10.0.0.1/a.png"}]}`, providers.Unreadable, providers.Billed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, saysJSON(tt.body))
			e := failure(t, provider(t, s), image())
			if e.Kind != tt.kind || e.Billing != tt.billing || string(e.Body) != tt.body {
				t.Errorf("error = %+v", e)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d calls were made", n)
			}
		})
	}
}

func TestAPictureIsReadInEverySpellingOfBase64(t *testing.T) {
	t.Parallel()
	for _, field := range []string{
		`"b64_json":"` + png64 + `"`,
		`"b64_json":"data:image/png;base64,` + png64 + `"`,
		`"b64_json":"iVBORw0K\nGgogYW5kIHNv\r\nIG9u\n"`,
		`"b64_json":"iVBORw0KGgogYW5kIHNvIG9uIQ"`,
		`"url":"data:image/png;base64,` + png64 + `"`,
		`"url":"data:image/png;base64,` + png64 + `","b64_json":null`,
		`"b64_json":"","url":"DATA:;BASE64,` + png64 + `"`,
	} {
		s := providertest.Serve(t, saysJSON(`{"data":[{`+field+`}],"usage":{"input_tokens":18446744073709551615,"output_tokens":1e30}}`))
		got := providertest.Generate(t, provider(t, s), image())
		if len(got.Blobs) != 1 || got.Blobs[0].MIME != "image/png" || !strings.HasPrefix(string(got.Blobs[0].Data), png) {
			t.Errorf("%s: got %q", field, got.Blobs)
		}
		if u := got.Usage; !u.Implausible || u.InputTokens > 1<<24 || u.ImageOutputTokens > 1<<24 {
			t.Errorf("usage = %+v", u)
		}
		if n := len(s.Requests()); n != 1 {
			t.Errorf("%s: %d calls", field, n)
		}
	}
}

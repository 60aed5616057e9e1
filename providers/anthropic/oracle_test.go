package anthropic_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/anthropics/anthropic-sdk-go/packages/param"
	"github.com/google/go-cmp/cmp"

	"oneflow/providers"
	"oneflow/providers/anthropic"
	"oneflow/providers/providertest"
)

// The official client is the oracle: what it sends for a request, and what it reads
// of an answer, is what our client sends and reads.

func TestWeSendWhatTheOfficialClientSends(t *testing.T) {
	t.Parallel()
	half, strict := 0.5, true
	for name, req := range map[string]providers.Request{
		"the least": {Task: providers.Text, Model: "m", Prompt: prompt},
		"all options": {
			Task: providers.Text, Model: "m", Prompt: "é <b>&amp; 🦊 \x00", System: "be brief", MaxTokens: 100, Temperature: &half, Stop: []string{"a", "b"},
			ResponseFormat: &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{
				Name: "n", Description: "d", Strict: &strict, Schema: raw(`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}}}`),
			}},
			Extra: map[string]json.RawMessage{"top_k": raw(`5`), "metadata": raw(`{"user_id":"me"}`), "odd.na|me": raw(`null`)},
		},
		"a conversation": {Task: providers.Text, Model: "m", TopP: &half, ResponseFormat: &providers.ResponseFormat{Type: "text"}, Messages: []providers.Message{
			{Role: "system", Content: "s"},
			{Role: "user", Content: "u"},
			{Role: "assistant", Content: "a"},
			{Role: "user", Content: prompt},
		}},
		"beyond what streams": {Task: providers.Text, Model: "m", Prompt: prompt, MaxTokens: 64000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, says(http.StatusOK, message))
			betas := []string{"one-2026-01-01", "two-2026-01-01"}
			providertest.Generate(t, provider(t, s, func(c *anthropic.Config) { c.Betas = betas }), req)
			client := sdk.Client{Options: []option.RequestOption{
				option.WithoutEnvironmentDefaults(), option.WithBaseURL(s.URL), option.WithAPIKey(secret), option.WithMaxRetries(0),
				option.WithHeaderAdd("anthropic-beta", betas[0]), option.WithHeaderAdd("anthropic-beta", betas[1]),
			}}
			var ignored json.RawMessage
			if err := client.Post(t.Context(), "v1/messages", officialMessage(req), &ignored); err != nil {
				t.Fatal(err)
			}
			compare(t, s)
		})
	}
	t.Run("models", func(t *testing.T) {
		t.Parallel()
		s := providertest.Serve(t, says(http.StatusOK, `{"data":[]}`))
		if err := provider(t, s).CheckKey(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		client := sdk.NewClient(option.WithoutEnvironmentDefaults(), option.WithBaseURL(s.URL), option.WithAPIKey(secret), option.WithMaxRetries(0))
		if _, err := client.Models.List(t.Context(), sdk.ModelListParams{Limit: sdk.Int(1)}); err != nil {
			t.Fatal(err)
		}
		compare(t, s)
	})
}

// compare holds the first call that a server got, ours, against the second, the
// official client's.
func compare(t *testing.T, s *providertest.Recorder) {
	t.Helper()
	calls := s.Requests()
	if len(calls) != 2 {
		t.Fatalf("%d calls, want one of each client", len(calls))
	}
	our, want := calls[0], calls[1]
	if our.Method != want.Method || our.URL != want.URL {
		t.Errorf("we call %s %s, the official client %s %s", our.Method, our.URL, want.Method, want.URL)
	}
	for _, name := range []string{"X-Api-Key", "Content-Type", "Accept", "Anthropic-Version", "Anthropic-Beta"} {
		if strings.Join(our.Header.Values(name), ",") != strings.Join(want.Header.Values(name), ",") {
			t.Errorf("%s: we send %q, the official client %q", name, our.Header.Values(name), want.Header.Values(name))
		}
	}
	if len(want.Body) > 0 {
		var ourBody, wantBody any
		if json.Unmarshal(our.Body, &ourBody) != nil || json.Unmarshal(want.Body, &wantBody) != nil {
			t.Fatalf("no JSON: %s, %s", our.Body, want.Body)
		}
		if diff := cmp.Diff(wantBody, ourBody); diff != "" {
			t.Errorf("request differs (-official +ours):\n%s", diff)
		}
	}
}

func TestWeReadWhatTheOfficialClientReads(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a message": message,
		"blocks":    `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"\u00e9 \ud83e\udd8a"},{"type":"text","text":" <&>"}],"stop_reason":"max_tokens","usage":{"input_tokens":3,"cache_creation_input_tokens":1,"cache_read_input_tokens":2,"output_tokens":5,"output_tokens_details":{"thinking_tokens":4}}}`,
		"a tool":    `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"tool_use","id":"t","name":"f","input":{}}],"stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":5}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := providertest.Serve(t, says(http.StatusOK, body))
			got := providertest.Generate(t, provider(t, s), text())
			client := sdk.NewClient(option.WithoutEnvironmentDefaults(), option.WithBaseURL(s.URL), option.WithAPIKey(secret), option.WithMaxRetries(0))
			want, err := client.Messages.New(t.Context(), officialMessage(text()))
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, block := range want.Content {
				all.WriteString(block.Text)
			}
			if got.Text != all.String() || got.FinishReason != string(want.StopReason) || got.Model != want.Model {
				t.Errorf("we read %q, %q, %q, the official client %q, %q, %q", got.Text, got.FinishReason, got.Model, all.String(), want.StopReason, want.Model)
			}
			u := want.Usage
			read := providers.Usage{
				InputTokens: u.InputTokens, CachedInputTokens: u.CacheReadInputTokens, CacheWriteTokens: u.CacheCreationInputTokens,
				OutputTokens: u.OutputTokens, ReasoningTokens: u.OutputTokensDetails.ThinkingTokens,
			}
			if got.Usage != read {
				t.Errorf("we read %+v, the official client %+v", got.Usage, read)
			}
		})
	}
}

// officialMessage is req in the official client's words.
func officialMessage(req providers.Request) sdk.MessageNewParams {
	params := sdk.MessageNewParams{Model: req.Model, MaxTokens: req.MaxTokens, StopSequences: req.Stop}
	if params.MaxTokens == 0 {
		params.MaxTokens = anthropic.Descriptor().MaxTokens
	}
	if req.System != "" {
		params.System = append(params.System, sdk.TextBlockParam{Text: req.System})
	}
	for _, m := range req.Messages {
		switch m.Role {
		case "system":
			params.System = append(params.System, sdk.TextBlockParam{Text: m.Content})
		case "assistant":
			params.Messages = append(params.Messages, sdk.NewAssistantMessage(sdk.NewTextBlock(m.Content)))
		default:
			params.Messages = append(params.Messages, sdk.NewUserMessage(sdk.NewTextBlock(m.Content)))
		}
	}
	if req.Prompt != "" {
		params.Messages = append(params.Messages, sdk.NewUserMessage(sdk.NewTextBlock(req.Prompt)))
	}
	if req.Temperature != nil {
		params.Temperature = sdk.Float(*req.Temperature)
	}
	if req.TopP != nil {
		params.TopP = sdk.Float(*req.TopP)
	}
	if f := req.ResponseFormat; f != nil && f.Type == "json_schema" {
		// As it came: a map would lose the order of the properties, in which the
		// model writes them.
		params.OutputConfig.Format = param.Override[sdk.JSONOutputFormatParam](outputFormat{
			Schema: f.JSONSchema.Schema, Type: "json_schema",
		})
	}
	if len(req.Extra) > 0 {
		fields := make(map[string]any, len(req.Extra))
		for name, value := range req.Extra {
			fields[name] = value
		}
		params.SetExtraFields(fields)
	}
	return params
}

// outputFormat asks for JSON that fits a schema. Anthropic knows no name, no
// description and no choice of strictness for it.
type outputFormat struct {
	Schema json.RawMessage `json:"schema"`
	Type   string          `json:"type"`
}

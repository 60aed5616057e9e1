package openai_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"testing"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"oneflow/internal/fakeprovider"
	"oneflow/providers/wire"
)

// official returns OpenAI's own client as it comes, for a fake server.
func official(t *testing.T) (sdk.Client, *fakeprovider.Server) {
	t.Helper()
	server, err := fakeprovider.New(fakeprovider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	client := wire.NewClient(wire.Config{})
	t.Cleanup(client.CloseIdleConnections)
	return sdk.NewClient(
		option.WithBaseURL(server.URL+"/openai/v1"), option.WithAPIKey(secret), option.WithMaxRetries(0), option.WithHTTPClient(client),
	), server
}

func TestTheOfficialClientReadsTheFakesChat(t *testing.T) {
	t.Parallel()
	client, _ := official(t)
	got, err := client.Chat.Completions.New(t.Context(), sdk.ChatCompletionNewParams{
		Model: "gpt-5.4-mini", Messages: []sdk.ChatCompletionMessageParamUnion{sdk.UserMessage(prompt)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.ID == "" || got.Model != "gpt-5.4-mini" || got.Created == 0 || got.Object != "chat.completion" || len(got.Choices) != 1 {
		t.Fatalf("completion = %s", got.RawJSON())
	}
	if c := got.Choices[0]; c.FinishReason != "stop" || c.Message.Content == "" || c.Message.Role != "assistant" {
		t.Errorf("choice = %s", c.RawJSON())
	}
	if u := got.Usage; u.PromptTokens <= 0 || u.CompletionTokens <= u.CompletionTokensDetails.ReasoningTokens || u.TotalTokens != u.PromptTokens+u.CompletionTokens {
		t.Errorf("usage = %s", u.RawJSON())
	}
	if len(got.JSON.ExtraFields)+len(got.Choices[0].JSON.ExtraFields)+len(got.Usage.JSON.ExtraFields) != 0 {
		t.Errorf("fields that the official client does not know: %v %v %v", got.JSON.ExtraFields, got.Choices[0].JSON.ExtraFields, got.Usage.JSON.ExtraFields)
	}
}

func TestTheOfficialClientReadsTheFakesPictures(t *testing.T) {
	t.Parallel()
	client, _ := official(t)
	got, err := client.Images.Generate(t.Context(), sdk.ImageGenerateParams{Model: "gpt-image-2", Prompt: prompt, Size: "64x64", N: sdk.Int(2)})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Data) != 2 || got.Usage.OutputTokens <= 0 || got.Usage.TotalTokens != got.Usage.InputTokens+got.Usage.OutputTokens {
		t.Fatalf("%d pictures, usage = %s", len(got.Data), got.Usage.RawJSON())
	}
	for _, image := range got.Data {
		if data, err := base64.StdEncoding.DecodeString(image.B64JSON); err != nil || !bytes.HasPrefix(data, []byte("\x89PNG")) {
			t.Errorf("not a picture: %v", err)
		}
	}
	if len(got.JSON.ExtraFields)+len(got.Usage.JSON.ExtraFields) != 0 {
		t.Errorf("fields that the official client does not know: %v %v", got.JSON.ExtraFields, got.Usage.JSON.ExtraFields)
	}
}

func TestTheOfficialClientReadsTheFakesSpeech(t *testing.T) {
	t.Parallel()
	client, _ := official(t)
	res, err := client.Audio.Speech.New(t.Context(), sdk.AudioSpeechNewParams{
		Model: "tts-1", Input: prompt, ResponseFormat: "wav", Voice: sdk.AudioSpeechNewParamsVoiceUnion{OfString: sdk.String("alloy")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if data, err := io.ReadAll(res.Body); err != nil || !bytes.HasPrefix(data, []byte("RIFF")) {
		t.Errorf("not a sound: %v", err)
	}
}

func TestTheOfficialClientReadsTheFakesModels(t *testing.T) {
	t.Parallel()
	client, _ := official(t)
	page, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Data) == 0 || page.Data[0].ID == "" || page.Data[0].Created == 0 || page.Data[0].OwnedBy == "" {
		t.Errorf("models = %s", page.RawJSON())
	}
}

func TestTheOfficialClientReadsTheFakesErrors(t *testing.T) {
	t.Parallel()
	for fault, want := range map[fakeprovider.Fault]struct {
		status     int
		kind, code string
	}{
		fakeprovider.ServerError:  {http.StatusInternalServerError, "server_error", ""},
		fakeprovider.Overloaded:   {http.StatusServiceUnavailable, "server_error", ""},
		fakeprovider.OutOfMoney:   {http.StatusTooManyRequests, "insufficient_quota", "insufficient_quota"},
		fakeprovider.RateLimited:  {http.StatusTooManyRequests, "requests", "rate_limit_exceeded"},
		fakeprovider.Unauthorised: {http.StatusUnauthorized, "invalid_request_error", "invalid_api_key"},
		fakeprovider.Moderated:    {http.StatusBadRequest, "invalid_request_error", "invalid_prompt"},
	} {
		client, server := official(t)
		server.Next(fault, 1)
		_, err := client.Chat.Completions.New(t.Context(), sdk.ChatCompletionNewParams{
			Model: "gpt-5.4-mini", Messages: []sdk.ChatCompletionMessageParamUnion{sdk.UserMessage(prompt)},
		})
		var e *sdk.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %T %v, want the official client's own error", fault, err, err)
			continue
		}
		if e.StatusCode != want.status || e.Type != want.kind || e.Code != want.code || e.Message == "" {
			t.Errorf("%s: %d %q %q %q, want %v", fault, e.StatusCode, e.Type, e.Code, e.Message, want)
		}
		if server.Count() != 1 {
			t.Errorf("%s: %d calls", fault, server.Count())
		}
	}
}

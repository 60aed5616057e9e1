package anthropic_test

import (
	"errors"
	"net/http"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"oneflow/internal/fakeprovider"
	"oneflow/providers/wire"
)

// official returns Anthropic's own client as it comes, for a fake server.
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
		option.WithoutEnvironmentDefaults(), option.WithBaseURL(server.URL+"/anthropic"), option.WithAPIKey(secret),
		option.WithMaxRetries(0), option.WithHTTPClient(client),
	), server
}

func officialParams() sdk.MessageNewParams {
	return sdk.MessageNewParams{
		Model: "claude-haiku-4-5", MaxTokens: 200, Messages: []sdk.MessageParam{sdk.NewUserMessage(sdk.NewTextBlock(prompt))},
	}
}

func TestTheOfficialClientReadsTheFakesMessages(t *testing.T) {
	t.Parallel()
	client, _ := official(t)
	got, err := client.Messages.New(t.Context(), officialParams())
	if err != nil {
		t.Fatal(err)
	}
	if got.ID == "" || got.Model != "claude-haiku-4-5" || got.Role != "assistant" || got.StopReason != "end_turn" {
		t.Errorf("message = %s", got.RawJSON())
	}
	if len(got.Content) != 1 || got.Content[0].AsText().Text == "" {
		t.Errorf("content = %s", got.RawJSON())
	}
	if got.Usage.InputTokens <= 0 || got.Usage.OutputTokens <= 0 {
		t.Errorf("usage = %s", got.Usage.RawJSON())
	}
	if len(got.JSON.ExtraFields)+len(got.Usage.JSON.ExtraFields) != 0 {
		t.Errorf("fields that the official client does not know: %v %v", got.JSON.ExtraFields, got.Usage.JSON.ExtraFields)
	}
}

func TestTheOfficialClientReadsTheFakesModels(t *testing.T) {
	t.Parallel()
	client, _ := official(t)
	page, err := client.Models.List(t.Context(), sdk.ModelListParams{})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Data) == 0 || page.Data[0].ID == "" || page.Data[0].CreatedAt.IsZero() || page.HasMore {
		t.Errorf("models = %s", page.RawJSON())
	}
}

func TestTheOfficialClientReadsTheFakesErrors(t *testing.T) {
	t.Parallel()
	for fault, want := range map[fakeprovider.Fault]struct {
		status int
		kind   sdk.ErrorType
	}{
		fakeprovider.ServerError:  {http.StatusInternalServerError, "api_error"},
		fakeprovider.Overloaded:   {529, "overloaded_error"},
		fakeprovider.OutOfMoney:   {http.StatusPaymentRequired, "billing_error"},
		fakeprovider.RateLimited:  {http.StatusTooManyRequests, "rate_limit_error"},
		fakeprovider.Unauthorised: {http.StatusUnauthorized, "authentication_error"},
		fakeprovider.Moderated:    {http.StatusBadRequest, "invalid_request_error"},
	} {
		client, server := official(t)
		server.Next(fault, 1)
		_, err := client.Messages.New(t.Context(), officialParams())
		var e *sdk.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %T %v, want the official client's own error", fault, err, err)
			continue
		}
		if e.StatusCode != want.status || e.Type() != want.kind || e.RequestID == "" {
			t.Errorf("%s: %d %q %q, want %v", fault, e.StatusCode, e.Type(), e.RequestID, want)
		}
		if server.Count() != 1 {
			t.Errorf("%s: %d calls", fault, server.Count())
		}
	}
}

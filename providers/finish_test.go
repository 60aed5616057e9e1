package providers_test

import (
	"testing"

	"oneflow/providers"
)

func TestEachVendorsWordHasOneReason(t *testing.T) {
	t.Parallel()
	for want, words := range map[providers.Finish][]string{
		"": {""}, providers.FinishStop: {"stop", "end_turn", "stop_sequence", "STOP", "completed"},
		providers.FinishLength:    {"length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_context_window_exceeded"},
		providers.FinishFilter:    {"content_filter", "refusal", "SAFETY", "CONTENT_FILTERED"},
		providers.FinishToolCalls: {"tool_calls", "tool_use", "function_call"}, providers.FinishPause: {"pause_turn"}, providers.FinishOther: {"invented_next_month"},
	} {
		for _, word := range words {
			if got := providers.FinishOf(word); got != want {
				t.Errorf("%q means %q, want %q", word, got, want)
			}
		}
	}
}

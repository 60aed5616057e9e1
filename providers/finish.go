package providers

// Finish is the reason why an answer ended, in words that are the same for all vendors.
type Finish string

// The reasons.
const (
	FinishStop      Finish = "stop"       // the model was done
	FinishLength    Finish = "length"     // the answer was cut: the cap or the model's window was reached
	FinishFilter    Finish = "filter"     // the vendor's filter cut it
	FinishToolCalls Finish = "tool_calls" // the model asks for tools
	FinishPause     Finish = "pause"      // the vendor asks to go on with it in another call
	FinishOther     Finish = "other"      // a word that has no meaning here
)

// FinishOf returns the reason that a vendor's own word stands for; empty where there is
// no word.
func FinishOf(word string) Finish {
	switch word {
	case "":
		return ""
	case "stop", "end_turn", "stop_sequence", "STOP", "eos", "completed", "succeeded", "SUCCESS", "COMPLETE":
		return FinishStop
	case "length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_context_window_exceeded", "model_length":
		return FinishLength
	case "content_filter", "refusal", "SAFETY", "CONTENT_FILTERED", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
		"IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return FinishFilter
	case "tool_calls", "tool_use", "function_call":
		return FinishToolCalls
	case "pause_turn":
		return FinishPause
	}
	return FinishOther
}

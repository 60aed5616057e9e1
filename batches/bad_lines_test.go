package batches_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"oneflow/batches"
)

// badLines are lines that must be refused, and for what reason.
func badLines() []struct{ line, reason string } {
	return []struct{ line, reason string }{
		// Not JSON.
		{"{\"prompt\":\"a\xff\"}", "13: not valid UTF-8"},
		{"{\"prompt\":\"\xed\xa0\x80\"}", "12: not valid UTF-8"},
		{"\xff\xfe{\x00", "1: not valid UTF-8"},
		{"{\"prompt\":\"a\x00\"}", `13: not valid JSON: the character with code 0 must be written as \u0000`},
		{"\x00", `1: not valid JSON: the character with code 0 must be written as \u0000`},
		{`{"prompt":"a"`, "13: not valid JSON: the line ends too early"},
		{`{"prompt":"a`, "12: not valid JSON: the line ends too early"},
		{`{`, "1: not valid JSON: the line ends too early"},
		{`{"prompt" "a"}`, "11: not valid JSON"},
		{`{"prompt":"a",}`, "15: not valid JSON: there is a comma before the closing bracket"},
		{`{'prompt':'a'}`, "2: not valid JSON: it is how Python prints a value; write lines with json.dumps"},
		{`{"prompt":"a\x"}`, "14: not valid JSON"},
		{`{"prompt":"a","max_tokens":01}`, "29: not valid JSON"},
		{`prompt,model`, "1: not valid JSON"},
		// JSON, but no object, or more than one.
		{`[]`, "not a JSON object"},
		{`[{"prompt":"a"}]`, "not a JSON object"},
		{`null`, "not a JSON object"},
		{`"prompt"`, "not a JSON object"},
		{`7`, "not a JSON object"},
		{`{"prompt":"a"} {"prompt":"b"}`, "16: there is more after the JSON object: put one object on each line, such as with jq -c . FILE"},
		{`{"prompt":"a"},`, "15: not valid JSON"},
		{`{"prompt":"a"} x`, "16: not valid JSON"},
		// JSON that encoding/json would take and change.
		{`{"prompt":"\ud83d"}`, "12: half of a surrogate pair: not a character"},
		{`{"prompt":"\ude00\ud83d"}`, "12: half of a surrogate pair: not a character"},
		{`{"prompt":"\ud83d\ud83d\ude00"}`, "12: half of a surrogate pair: not a character"},
		{`{"prompt":"\ud83d\\ude00"}`, "12: half of a surrogate pair: not a character"},
		{`{"prompt":"\\\uDfff"}`, "14: half of a surrogate pair: not a character"},
		{`{"prompt":"a","prompt":"b"}`, `field "prompt": stands twice`},
		{`{"prompt":"a","pr\u006fmpt":"b"}`, `field "prompt": stands twice`},
		{`{"prompt":"a","extra":{"b":[{"c":1,"c":1}]}}`, `field "c": stands twice`},
		{`{"prompt":"a","Prompt":"b"}`, `unknown field "Prompt": did you mean "prompt"? To keep it as a column of your own, name the prompt's column with --map prompt=…`},
		{`{"prompt":"a","PROVIDER":"openai"}`, `unknown field "PROVIDER": did you mean "provider"? To keep it as a column of your own, name the prompt's column with --map prompt=…`},
		{`{"messages":[{"role":"user","content":"a","Content":"b"}]}`, `messages[0].Content: has no meaning here`},
		{`{"prompt":"a","response_format":{"type":"json_schema","json_schema":{"name":"n","Name":"m","schema":{}}}}`, `response_format.json_schema.Name: there is no such field; response_format.json_schema takes description, name, schema, strict`},
		// Nesting.
		{strings.Repeat("[", 10_001), "nested deeper than 100 levels"},
		{`{"extra":` + strings.Repeat(`{"a":`, 10_001) + `1` + strings.Repeat("}", 10_002), "nested deeper than 100 levels"},
		// Wrong types and values.
		{`{"prompt":{"text":"a"}}`, "prompt: must be a string, got a JSON object"},
		{`{"prompt":"a","max_tokens":"seven"}`, "max_tokens: must be a whole number, got a JSON string"},
		{`{"prompt":"a","max_tokens":"7.5"}`, "max_tokens: must be a whole number, got a JSON string"},
		{`{"prompt":"a","max_tokens":true}`, "max_tokens: must be a whole number, got a JSON boolean"},
		{`{"prompt":"a","seed":1e16}`, "seed: must be a whole number, got a JSON number 1e16"},
		{`{"prompt":"a","max_tokens":1.5}`, "max_tokens: must be a whole number, got a JSON number 1.5"},
		{`{"prompt":"a","max_tokens":1e400}`, "max_tokens: must be a whole number, got a JSON number 1e400"},
		{`{"prompt":"a","temperature":1e400}`, "temperature: must be a number, got a JSON number 1e400"},
		{`{"prompt":"a","seed":9223372036854775808}`, "seed: must be a whole number, got a JSON number 9223372036854775808"},
		{`{"prompt":"a","temperature":"hot"}`, "temperature: must be a number, got a JSON string"},
		{`{"prompt":"a","stop":{".":1}}`, "stop: must be a list, got a JSON object"},
		{`{"prompt":"a","stop":[7]}`, "stop[0]: must be a string, got a JSON number"},
		{`{"messages":[{"role":"user","content":7}]}`, "messages[0].content: must be a string or a list of parts, got a JSON number"},
		{`{"prompt":"a","extra":[]}`, "extra: must be an object, got a JSON list"},
		{`{"prompt":"a","provider":"elevenlabs","task":"audio","voice_settings":{"use_speaker_boost":"yes"}}`, "voice_settings.use_speaker_boost: must be true or false, got a JSON string"},
		{`{"prompt":"a","custom_id":[7]}`, "custom_id: must be a string, got a JSON list"},
		{`{"prompt":"a","lane":7}`, "lane: must be a string, got a JSON number"},
		{`{"prompt":"a","task":7}`, "task: must be a string, got a JSON number"},
		{`{"prompt":"a","run_at":7}`, `run_at: must be a time such as "2026-01-31T18:00:00Z"`},
		{`{"prompt":"a","run_at":"tomorrow"}`, `run_at: must be a time such as "2026-01-31T18:00:00Z"`},
		{`{"prompt":"a","custom_id":"` + strings.Repeat("é", 129) + `"}`, "custom_id: must be at most 256 bytes, without NUL"},
		{`{"prompt":"a","custom_id":"\u0000"}`, "custom_id: must be at most 256 bytes, without NUL"},
		{`{"prompt":"a","provider":"openai","model":"m\u0000"}`, "model: must be at most 256 bytes, without NUL"},
		{`{"prompt":"a","max_tokens":-1}`, "max_tokens: must be positive, got -1"},
		{`{"messages":[{"role":"tool","content":"a"}]}`, "messages[0].tool_call_id: is needed for role tool"},
		// What is not on offer.
		{`{}`, "prompt: must not be empty"},
		{`{"prompt":"a","top_k":5}`, `unknown field "top_k": it is an option of other providers, and mock takes no fields of its own; to keep it as a column of your own, say --map top_k=`},
		{`{"prompt":"a","top_k":5,"provider":"openai"}`, `unknown field "top_k": a provider's own options go into "extra"; to keep it as a column of your own, say --map top_k=`},
		{`{"prompt":"a","size":"1x1"}`, `option "size": not understood for text by mock, which takes prompt, system, messages, max_tokens, temperature, top_p, stop, seed, response_format, tools, tool_choice, parallel_tool_calls, effort, service_tier, n, logprobs, top_logprobs`},
		{`{"prompt":"a","provider":"none"}`, `provider "none": is not configured`},
		{`{"prompt":"a","provider":"weird"}`, `provider "weird": no such kind of provider as "weird"`},
		{`{"prompt":"a","provider":""}`, `provider: is missing; name one in the row or with --provider`},
		{`{"prompt":"a","task":"poem"}`, `task "poem": mock does audio, embedding, image, text, transcription, video`},
		{`{"prompt":"a","provider":"anthropic","task":"image"}`, `task "image": anthropic does text`},
		{`{"prompt":"a","model":"gpt-9"}`, `model "gpt-9": mock offers mock-text for text`},
		{`{"prompt":"a","lane":"fast"}`, `lane "fast": must be high, default or bulk`},
	}
}

// placed is a reason behind a line's number, or behind the column that it begins with.
func placed(reason string) string {
	if reason[0] >= '0' && reason[0] <= '9' {
		return reason
	}
	return " " + reason
}

func TestABadLineIsRefusedWithItsPlaceAndReasonAndTheNextIsRead(t *testing.T) {
	t.Parallel()
	for _, c := range badLines() {
		good, bad := read(t, input(), "{\"prompt\":\"before\"}\n"+c.line+"\n{\"prompt\":\"after\"}\n")
		if diff := cmp.Diff([]string{"rows.jsonl:2:" + placed(c.reason)}, bad); diff != "" {
			t.Errorf("%.120s (-want +got):\n%s", c.line, diff)
		}
		if diff := cmp.Diff([]string{"before", "after"}, prompts(good)); diff != "" {
			t.Errorf("%.120s: its neighbours:\n%s", c.line, diff)
		}
	}
}

func TestErrorsNeverHoldThePromptAndStayShort(t *testing.T) {
	t.Parallel()
	const canary = "the-canary-sings"
	for _, c := range badLines() {
		line := strings.Replace(c.line, `"prompt":"a`, `"system":"`+canary+`","prompt":"`+canary, 1)
		_, bad := read(t, input(), "{\"prompt\":\"first\"}\n"+line)
		if len(bad) != 1 || strings.Contains(bad[0], canary) {
			t.Errorf("%.200s: %q", line, bad)
		}
	}
	long := strings.Repeat("x", 1<<20)
	for _, line := range []string{
		`{"prompt":"a","` + long + `":1}`, `{"prompt":"a","model":"` + long + `"}`, `{"prompt":"a","provider":"` + long + `"}`, `{"prompt":"a","lane":"` + long + `"}`,
		`{"prompt":"a","task":"` + long + `"}`, `{"prompt":"a","task":"image","size":"` + long + `"}`, `{"prompt":"a","seed":` + strings.Repeat("9", 1<<20) + `}`,
		`{"prompt":"a","` + long + `":1,"` + long + `":1}`, `{"prompt":"a","provider":"stability","task":"image","extra":{"` + long + `":[]}}`,
	} {
		_, bad := read(t, input(), line)
		if len(bad) != 1 || len(bad[0]) > 500 {
			t.Errorf("%.60s…: %d errors, %.600q", line, len(bad), bad)
		}
	}
	// A name may come from anybody: it must not move the cursor of a terminal.
	in := input()
	in.Map = map[string]string{"prompt": "question"}
	for _, line := range []string{`{"\u001b[2J\r\n\u202e":1}`, `{"prompt":"a","provider":"stability","task":"image","extra":{"\u001b[2J":[]}}`} {
		for _, in := range []batches.Input{in, input()} {
			_, bad := read(t, in, line)
			if len(bad) != 1 || strings.ContainsAny(bad[0], "\x1b\r\n\u202e") {
				t.Errorf("%s: %q", line, bad)
			}
		}
	}
}

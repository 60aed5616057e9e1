package anthropic_test

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/providers"
	"oneflow/providers/anthropic"
)

func llmExtra(name string) map[string]json.RawMessage {
	return map[string]json.RawMessage{name: json.RawMessage(`1`)}
}

func llmSchema(name, schema string) *providers.ResponseFormat {
	return &providers.ResponseFormat{
		Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: name, Schema: json.RawMessage(schema)},
	}
}

func TestItsTasksAreOnOffer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		of    func() providers.Descriptor
		tasks []providers.Task
	}{
		{anthropic.Descriptor, []providers.Task{providers.Text}},
	} {
		d := tt.of()
		caps := d.Capabilities()
		if len(caps.Tasks) != len(tt.tasks) {
			t.Errorf("%s does %v, want %v", d.Kind, caps.Tasks, tt.tasks)
		}
		for _, task := range tt.tasks {
			offer, ok := caps.Tasks[task]
			if !ok || (offer.DefaultModel == "") != d.Compatible {
				t.Errorf("%s has the default model %q for %s", d.Kind, offer.DefaultModel, task)
			}
			req := providers.Request{Task: task, Prompt: "p", Extra: llmExtra("a_field_of_its_own")}
			if err := caps.Check(req); err != nil {
				t.Errorf("%s refuses the least request for %s: %v", d.Kind, task, err)
			}
		}
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	one, half, two, zero := 1.0, 0.5, 2.0, 0.0
	seed := int64(1)
	type request = providers.Request
	// want is the subject of the error; empty where the request is fine.
	for name, tt := range map[string]struct {
		of   func() providers.Descriptor
		task providers.Task
		req  request
		want string
	}{
		"all of Claude":                   {anthropic.Descriptor, providers.Text, request{System: "s", MaxTokens: 1, Temperature: &one, Stop: []string{"a"}, ResponseFormat: llmSchema("", `{}`), Extra: llmExtra("top_k")}, ""},
		"Claude, hot":                     {anthropic.Descriptor, providers.Text, request{Temperature: &two}, "temperature"},
		"Claude, cold":                    {anthropic.Descriptor, providers.Text, request{Model: "claude-haiku-4-5", Temperature: &zero}, ""},
		"Claude with both":                {anthropic.Descriptor, providers.Text, request{Model: "claude-haiku-4-5", Temperature: &one, TopP: &one}, "top_p"},
		"a newer Claude, cold":            {anthropic.Descriptor, providers.Text, request{Model: "claude-sonnet-5", Temperature: &zero}, "temperature"},
		"a newer Claude with top_p":       {anthropic.Descriptor, providers.Text, request{Model: "claude-opus-4-7", TopP: &half}, "top_p"},
		"a newer Claude at its default":   {anthropic.Descriptor, providers.Text, request{Model: "claude-opus-5-5", Temperature: &one}, ""},
		"Claude with a seed":              {anthropic.Descriptor, providers.Text, request{Seed: &seed}, `"seed"`},
		"Claude with a blank stop":        {anthropic.Descriptor, providers.Text, request{Stop: []string{"a", " \n"}}, "stop[1]"},
		"Claude and some JSON":            {anthropic.Descriptor, providers.Text, request{ResponseFormat: &providers.ResponseFormat{Type: "json_object"}}, "response_format.type"},
		"Claude with two formats":         {anthropic.Descriptor, providers.Text, request{ResponseFormat: llmSchema("", `{}`), Extra: llmExtra("output_config")}, ""},
		"Claude with stops of its own":    {anthropic.Descriptor, providers.Text, request{Extra: llmExtra("stop_sequences")}, `extra.stop_sequences: is called "stop" here`},
		"Haiku with effort":               {anthropic.Descriptor, providers.Text, request{Model: "claude-haiku-4-5", Effort: "low"}, "effort"},
		"Claude without effort":           {anthropic.Descriptor, providers.Text, request{Model: "claude-opus-4-6", Effort: "none"}, "effort"},
		"Claude with effort of its own":   {anthropic.Descriptor, providers.Text, request{Model: "claude-opus-4-6", Effort: "max"}, ""},
		"a tier of another's":             {anthropic.Descriptor, providers.Text, request{ServiceTier: "flex"}, "service_tier"},
		"two answers":                     {anthropic.Descriptor, providers.Text, request{N: 2}, `option "n"`},
		"probabilities":                   {anthropic.Descriptor, providers.Text, request{LogProbs: true}, `option "logprobs"`},
		"a sound":                         {anthropic.Descriptor, providers.Text, request{Messages: turnOf(providers.Part{Type: providers.AudioPart, Data: []byte("x"), MIME: "audio/wav"})}, "messages[0].content[0] (audio)"},
		"a picture of no kind it takes":   {anthropic.Descriptor, providers.Text, request{Messages: turnOf(providers.Part{Type: providers.ImagePart, Data: []byte("x"), MIME: "image/tiff"})}, "messages[0].content[0] (image)"},
		"a large picture":                 {anthropic.Descriptor, providers.Text, request{Messages: turnOf(providers.Part{Type: providers.ImagePart, Data: make([]byte, 7<<20), MIME: "image/png"})}, ""},
		"too large a picture":             {anthropic.Descriptor, providers.Text, request{Messages: turnOf(providers.Part{Type: providers.ImagePart, Data: make([]byte, 8<<20), MIME: "image/png"})}, "messages[0].content[0] (image): at most 10 MiB in base64 are taken by Anthropic, got 11184812 bytes: make it smaller"},
		"Google's word for a tier":        {anthropic.Descriptor, providers.Text, request{ServiceTier: "standard"}, ""},
		"a document of no kind it takes":  {anthropic.Descriptor, providers.Text, request{Messages: turnOf(providers.Part{Type: providers.DocumentPart, Data: []byte("x"), MIME: "text/html"})}, "messages[0].content[0] (document)"},
		"a look at a picture":             {anthropic.Descriptor, providers.Text, request{Messages: turnOf(providers.Part{Type: providers.ImagePart, URL: "https://x/y.png", Detail: "low"})}, "messages[0].content[0] (image)"},
		"a turn with a name":              {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "user", Content: "a", Name: "ana"}}}, "messages[0].name"},
		"a call that is no object":        {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "user", Content: "a"}, {Role: "assistant", ToolCalls: []providers.ToolCall{{ID: "1", Name: "f", Arguments: "[1]"}}}}}, "messages[1].tool_calls[0].arguments"},
		"a call with an odd id":           {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "user", Content: "a"}, {Role: "assistant", ToolCalls: []providers.ToolCall{{ID: "a.b", Name: "f", Arguments: "{}"}}}}}, "messages[1].tool_calls[0].id"},
		"a tool with an odd name":         {anthropic.Descriptor, providers.Text, request{Tools: []providers.Tool{{Name: "a b"}}}, "tools[0].name"},
		"a tool of no object":             {anthropic.Descriptor, providers.Text, request{Tools: []providers.Tool{{Name: "f", Parameters: json.RawMessage(`{"type":"string"}`)}}}, "tools[0].parameters"},
		"nobody but the model":            {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "assistant", Content: "a"}}}, "messages: at least one user message"},
		"Claude with effort":              {anthropic.Descriptor, providers.Text, request{Extra: llmExtra("output_config")}, ""},
		"Claude's stream":                 {anthropic.Descriptor, providers.Text, request{Extra: llmExtra("stream")}, "extra.stream"},
		"Claude's own word for stop":      {anthropic.Descriptor, providers.Text, request{Extra: llmExtra("stop_sequences")}, "extra.stop_sequences"},
		"Claude asked with blanks":        {anthropic.Descriptor, providers.Text, request{Prompt: " \n"}, "prompt"},
		"Claude, system in the middle":    {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "user", Content: "u"}, {Role: "system", Content: "s"}}}, "messages[1].role"},
		"Claude, system alone":            {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "system", Content: "s"}}}, "messages"},
		"Claude, nothing said":            {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "user", Content: ""}}}, "messages[0].content"},
		"Claude, a conversation":          {anthropic.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "system", Content: "s"}, {Role: "user", Content: "u"}}}, ""},
		"Claude for a picture":            {anthropic.Descriptor, providers.Image, request{}, "task"},
		"somebody's Claude, both at once": {anthropic.Descriptor, providers.Text, request{Model: "my-proxy", Temperature: &one, TopP: &one}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := tt.req
			req.Task = tt.task
			if req.Prompt == "" && req.Messages == nil {
				req.Prompt = "p"
			}
			err := tt.of().Capabilities().Check(req)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("Check() = %v, want none", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Check() = %v, want one about %q", err, tt.want)
			}
		})
	}
}

// turnOf is a conversation of one turn of the user's.
func turnOf(parts ...providers.Part) []providers.Message {
	return []providers.Message{{Role: "user", Parts: parts}}
}

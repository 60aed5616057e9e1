package openai_test

import (
	"encoding/json"
	"strings"
	"testing"

	"oneflow/providers"
	"oneflow/providers/openai"
	"oneflow/providers/providertest"
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
		{openai.Descriptor, []providers.Task{providers.Text, providers.Image, providers.Audio, providers.Embedding, providers.Transcription}},
		{openai.Compatible, []providers.Task{providers.Text, providers.Image, providers.Audio, providers.Video, providers.Embedding, providers.Transcription}},
	} {
		d := tt.of()
		caps := d.Capabilities()
		if len(caps.Tasks) != len(tt.tasks) {
			t.Errorf("%s does %v, want %v", d.Kind, caps.Tasks, tt.tasks)
		}
		for _, task := range tt.tasks {
			offer, ok := caps.Tasks[task]
			if !ok || (offer.DefaultModel == "") != (d.Compatible || task == providers.Audio) {
				t.Errorf("%s has the default model %q for %s", d.Kind, offer.DefaultModel, task)
			}
			req := providertest.Least(providers.Request{Task: task, Prompt: "p", Extra: llmExtra("a_field_of_its_own")})
			if err := caps.Check(req); err != nil {
				t.Errorf("%s refuses the least request for %s: %v", d.Kind, task, err)
			}
		}
	}
}

// given is a request for a model with one part of a type.
func given(model string, part providers.PartType) providers.Request {
	mime := map[providers.PartType]string{providers.AudioPart: "audio/wav", providers.ImagePart: "image/png", providers.DocumentPart: "application/pdf"}[part]
	return providers.Request{Model: model, Messages: []providers.Message{{Role: "user", Parts: []providers.Part{{Type: part, MIME: mime, Data: []byte("d")}}}}}
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
		"everything for text": {openai.Descriptor, providers.Text, request{
			Model:  "gpt-5.4-mini",
			System: "s", MaxTokens: 1, Temperature: &two, TopP: &half, Stop: []string{"a", "b", "c", "d"}, Seed: &seed,
			ResponseFormat: llmSchema("a_Z-9", ` {"type":"object"}`), Extra: llmExtra("logit_bias"), N: 128, LogProbs: true, TopLogProbs: 20, Effort: "none", ServiceTier: "flex",
			Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "none"},
		}, ""},
		"sound for a model that does not hear":        {openai.Descriptor, providers.Text, given("gpt-6-luna", providers.AudioPart), "messages[0].content[0] (audio)"},
		"sound for the default model":                 {openai.Descriptor, providers.Text, given("", providers.AudioPart), "messages[0].content[0] (audio)"},
		"sound for a model that thinks":               {openai.Descriptor, providers.Text, given("o3", providers.AudioPart), "messages[0].content[0] (audio)"},
		"sound for a deployment of it":                {openai.Compatible, providers.Text, given("gpt-4o", providers.AudioPart), "messages[0].content[0] (audio)"},
		"sound for a model that hears":                {openai.Descriptor, providers.Text, given("gpt-audio", providers.AudioPart), ""},
		"sound for another one":                       {openai.Descriptor, providers.Text, given("gpt-4o-mini-audio-preview", providers.AudioPart), ""},
		"sound for a model that nobody knows":         {openai.Compatible, providers.Text, given("qwen-omni", providers.AudioPart), ""},
		"sound for an open model of OpenAI's":         {openai.Compatible, providers.Text, given("gpt-oss-120b", providers.AudioPart), ""},
		"a picture for a model that hears":            {openai.Descriptor, providers.Text, given("gpt-audio", providers.ImagePart), "messages[0].content[0] (image)"},
		"a document for a model that hears":           {openai.Descriptor, providers.Text, given("gpt-audio-mini", providers.DocumentPart), "messages[0].content[0] (document)"},
		"a picture for a model that sees":             {openai.Descriptor, providers.Text, given("gpt-6-luna", providers.ImagePart), ""},
		"a picture for a model of another that hears": {openai.Compatible, providers.Text, given("voxtral-audio", providers.ImagePart), ""},
		"plain text":                 {openai.Descriptor, providers.Text, request{ResponseFormat: &providers.ResponseFormat{Type: "text"}}, ""},
		"five stops":                 {openai.Descriptor, providers.Text, request{Stop: []string{"a", "b", "c", "d", "e"}}, "stop"},
		"an empty stop":              {openai.Descriptor, providers.Text, request{Stop: []string{""}}, "stop"},
		"a format of another kind":   {openai.Descriptor, providers.Text, request{ResponseFormat: &providers.ResponseFormat{Type: "xml"}}, "response_format.type"},
		"a format of no kind":        {openai.Descriptor, providers.Text, request{ResponseFormat: &providers.ResponseFormat{}}, "response_format.type"},
		"a schema without its type":  {openai.Descriptor, providers.Text, request{ResponseFormat: &providers.ResponseFormat{Type: "text", JSONSchema: &providers.JSONSchema{}}}, "response_format.type"},
		"no schema":                  {openai.Descriptor, providers.Text, request{ResponseFormat: &providers.ResponseFormat{Type: "json_schema"}}, "response_format.json_schema"},
		"a schema that is none":      {openai.Descriptor, providers.Text, request{ResponseFormat: llmSchema("n", `[]`)}, "schema: must be a JSON object"},
		"a schema without a name":    {openai.Descriptor, providers.Text, request{ResponseFormat: llmSchema("", `{}`)}, "json_schema.name"},
		"a schema with a long name":  {openai.Descriptor, providers.Text, request{ResponseFormat: llmSchema(strings.Repeat("n", 65), `{}`)}, "json_schema.name"},
		"a schema with an odd name":  {openai.Descriptor, providers.Text, request{ResponseFormat: llmSchema("a b", `{}`)}, "json_schema.name"},
		"the cap twice":              {openai.Descriptor, providers.Text, request{MaxTokens: 1, Extra: llmExtra("max_completion_tokens")}, "max_completion_tokens"},
		"the cap in OpenAI's words":  {openai.Descriptor, providers.Text, request{Extra: llmExtra("max_completion_tokens")}, `extra.max_completion_tokens: is called "max_tokens" here`},
		"a tool in extra":            {openai.Descriptor, providers.Text, request{Extra: llmExtra("tools")}, `set "tools" beside extra`},
		"too many answers":           {openai.Descriptor, providers.Text, request{N: 129}, "n: must be from 1 to 128"},
		"odds alone":                 {openai.Descriptor, providers.Text, request{TopLogProbs: 2}, "top_logprobs"},
		"a choice without tools":     {openai.Descriptor, providers.Text, request{ToolChoice: &providers.ToolChoice{Mode: "auto"}}, "tool_choice"},
		"a choice of another tool":   {openai.Descriptor, providers.Text, request{Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "tool", Name: "g"}}, "tool_choice"},
		"an unknown choice":          {openai.Descriptor, providers.Text, request{Tools: []providers.Tool{{Name: "f"}}, ToolChoice: &providers.ToolChoice{Mode: "maybe"}}, "tool_choice"},
		"no tools, but side by side": {openai.Descriptor, providers.Text, request{ParallelToolCalls: new(true)}, "parallel_tool_calls"},
		"functions and thinking":     {openai.Descriptor, providers.Text, request{Tools: []providers.Tool{{Name: "f"}}}, "tools: gpt-6-luna takes functions in a chat with effort none only"},
		"functions and no thinking":  {openai.Descriptor, providers.Text, request{Effort: "none", Tools: []providers.Tool{{Name: "f"}}}, ""},
		"functions and some effort":  {openai.Descriptor, providers.Text, request{Model: "gpt-5.4", Effort: "low", Tools: []providers.Tool{{Name: "f"}}}, "tools: gpt-5.4 takes functions in a chat with effort none only"},
		"functions and no effort":    {openai.Descriptor, providers.Text, request{Model: "gpt-5.4", Tools: []providers.Tool{{Name: "f"}}}, ""},
		"no thinking at all":         {openai.Descriptor, providers.Text, request{Model: "gpt-6.2-sol", Effort: "none"}, "effort: gpt-6.2-sol always thinks"},
		"functions where it thinks":  {openai.Descriptor, providers.Text, request{Model: "gpt-6.2-sol", Tools: []providers.Tool{{Name: "f"}}}, ""},
		"functions at a server":      {openai.Compatible, providers.Text, request{Model: "qwen", Tools: []providers.Tool{{Name: "f"}}}, ""},
		"a search in a chat":         {openai.Descriptor, providers.Text, request{Tools: []providers.Tool{{Own: json.RawMessage(`{"type":"web_search"}`)}}}, `tools[0]: gpt-6-luna takes functions in a chat, and not "web_search"`},
		"an effort of no kind":       {openai.Descriptor, providers.Text, request{Effort: "heroic"}, "effort"},
		"a sound at an address":      {openai.Descriptor, providers.Text, request{Model: "gpt-audio", Messages: turnOf("user", providers.Part{Type: providers.AudioPart, URL: "https://x/y.mp3"})}, "messages[0].content[0] (audio)"},
		"a sound of no kind":         {openai.Descriptor, providers.Text, request{Model: "gpt-audio", Messages: turnOf("user", providers.Part{Type: providers.AudioPart, Data: []byte("x"), MIME: "audio/flac"})}, "messages[0].content[0] (audio)"},
		"a document at an address":   {openai.Descriptor, providers.Text, request{Messages: turnOf("user", providers.Part{Type: providers.DocumentPart, URL: "https://x/y.pdf"})}, "messages[0].content[0] (document)"},
		"a document of plain text":   {openai.Descriptor, providers.Text, request{Messages: turnOf("user", providers.Part{Type: providers.DocumentPart, Data: []byte("x"), MIME: "text/plain"})}, "messages[0].content[0] (document)"},
		"a picture by the system":    {openai.Descriptor, providers.Text, request{Messages: turnOf("system", providers.Part{Type: providers.ImagePart, URL: "https://x/y.png"})}, "messages[0].content[0] (image)"},
		"a picture of nothing":       {openai.Descriptor, providers.Text, request{Messages: turnOf("user", providers.Part{Type: providers.ImagePart})}, "messages[0].content[0] (image): holds nothing"},
		"a picture of no kind":       {openai.Descriptor, providers.Text, request{Messages: turnOf("user", providers.Part{Type: providers.ImagePart, Data: []byte("x")})}, "messages[0].content[0] (image): its media type"},
		"a picture from a tool":      {openai.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "tool", ToolCallID: "1", Parts: turnOf("user", providers.Part{Type: providers.ImagePart, URL: "https://x/y.png"})[0].Parts}}}, "messages[0].content[0] (image)"},
		"a tool that failed":         {openai.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "tool", ToolCallID: "1", IsError: true}}}, "messages[0].is_error"},
		"an answer to no call":       {openai.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "tool", Content: "7"}}}, "messages[0].tool_call_id"},
		"a call by the user":         {openai.Descriptor, providers.Text, request{Messages: []providers.Message{{Role: "user", ToolCalls: []providers.ToolCall{{ID: "1", Name: "f"}}}}}, "messages[0].tool_calls"},
		"a stream":                   {openai.Descriptor, providers.Text, request{Extra: llmExtra("stream")}, "extra.stream"},
		"a name that has its own":    {openai.Descriptor, providers.Text, request{Extra: llmExtra("max_tokens")}, "extra.max_tokens"},
		"a voice for text":           {openai.Descriptor, providers.Text, request{Voice: "v"}, `"voice"`},
		"o3, warm":                   {openai.Descriptor, providers.Text, request{Model: "o3", Temperature: &half}, "temperature"},
		"o4-mini, dated, with top_p": {openai.Descriptor, providers.Text, request{Model: "o4-mini-2025-04-16", TopP: &half}, "top_p"},
		"o3-mini with stops":         {openai.Descriptor, providers.Text, request{Model: "o3-mini", Stop: []string{"a"}}, "stop"},
		"gpt-5 at its default":       {openai.Descriptor, providers.Text, request{Model: "gpt-5", Temperature: &one, TopP: &one}, ""},
		"gpt-5-nano, cold":           {openai.Descriptor, providers.Text, request{Model: "gpt-5-nano", Temperature: &zero}, "temperature"},
		"gpt-5-chat, warm":           {openai.Descriptor, providers.Text, request{Model: "gpt-5-chat-latest", Temperature: &half}, ""},
		"Luna, warm":                 {openai.Descriptor, providers.Text, request{Temperature: &half}, "temperature"},
		"Luna, warm, no effort":      {openai.Descriptor, providers.Text, request{Temperature: &half, Effort: "none"}, ""},
		"Luna, other odds":           {openai.Descriptor, providers.Text, request{Model: "gpt-5.6-sol", TopP: &half}, "top_p"},
		"a transparent gpt-image-2":  {openai.Descriptor, providers.Image, request{Background: "transparent"}, "background"},
		"gpt-5.4-mini, warm":         {openai.Descriptor, providers.Text, request{Model: "gpt-5.4-mini", Temperature: &half}, ""},
		"somebody's model, warm":     {openai.Descriptor, providers.Text, request{Model: "openai/o3", Temperature: &half}, ""},
		"everything for a picture":   {openai.Descriptor, providers.Image, request{N: 10, Size: "1536x864", Quality: "max", Background: "opaque", OutputFormat: "webp"}, ""},
		"a style":                    {openai.Descriptor, providers.Image, request{Style: "vivid"}, "style"},
		"a picture's quality":        {openai.Descriptor, providers.Image, request{Quality: "hd"}, "quality"},
		"a picture's format":         {openai.Descriptor, providers.Image, request{OutputFormat: "bmp"}, "output_format"},
		"two drawings":               {openai.Descriptor, providers.Image, request{OutputFormat: "svg", N: 2}, "n:"},
		"glass as jpeg":              {openai.Descriptor, providers.Image, request{Background: "transparent", OutputFormat: "jpeg"}, "background"},
		"glass by default":           {openai.Descriptor, providers.Image, request{Model: "gpt-image-1.5", Background: "transparent"}, ""},
		"a background":               {openai.Descriptor, providers.Image, request{Background: "green"}, "background"},
		"a size that is none":        {openai.Descriptor, providers.Image, request{Size: "big"}, "size"},
		"a size not by 16":           {openai.Descriptor, providers.Image, request{Size: "1000x1000"}, "size"},
		"a size too wide":            {openai.Descriptor, providers.Image, request{Size: "3200x800"}, "size"},
		"a size too large":           {openai.Descriptor, providers.Image, request{Size: "4096x4096"}, "size"},
		"the largest size":           {openai.Descriptor, providers.Image, request{Size: "3840x2160"}, ""},
		"a size for it to choose":    {openai.Descriptor, providers.Image, request{Size: "auto"}, ""},
		"gpt-image-1.5 in odd size":  {openai.Descriptor, providers.Image, request{Model: "gpt-image-1.5", Size: "1536x864"}, "size"},
		"part of a picture":          {openai.Descriptor, providers.Image, request{Extra: llmExtra("partial_images")}, "extra.partial_images"},
		"dall-e-3":                   {openai.Descriptor, providers.Image, request{Model: "dall-e-3", N: 1, Size: "1792x1024", Quality: "hd", Style: "natural"}, ""},
		"dall-e-3, two":              {openai.Descriptor, providers.Image, request{Model: "dall-e-3", N: 2}, "n:"},
		"dall-e-3, small":            {openai.Descriptor, providers.Image, request{Model: "dall-e-3", Size: "256x256"}, "size"},
		"dall-e-3, low":              {openai.Descriptor, providers.Image, request{Model: "dall-e-3", Quality: "low"}, "quality"},
		"dall-e-3, some style":       {openai.Descriptor, providers.Image, request{Model: "dall-e-3", Style: "baroque"}, "style"},
		"dall-e-3 on glass":          {openai.Descriptor, providers.Image, request{Model: "dall-e-3", Background: "transparent"}, "background"},
		"dall-e-3 as jpeg":           {openai.Descriptor, providers.Image, request{Model: "dall-e-3", OutputFormat: "jpeg"}, "output_format"},
		"dall-e-3, told much":        {openai.Descriptor, providers.Image, request{Model: "dall-e-3", Prompt: strings.Repeat("ä", 4001)}, "4000"},
		"dall-e-2, ten":              {openai.Descriptor, providers.Image, request{Model: "dall-e-2", N: 10, Size: "256x256"}, ""},
		"dall-e-2 with style":        {openai.Descriptor, providers.Image, request{Model: "dall-e-2", Style: "vivid"}, "style"},
		"dall-e-2, told much":        {openai.Descriptor, providers.Image, request{Model: "dall-e-2", Prompt: strings.Repeat("a", 1001)}, "1000"},
		"somebody's picture":         {openai.Descriptor, providers.Image, request{Model: "flux", Style: "baroque", Quality: "fine", Size: "100x7", OutputFormat: "bmp"}, ""},
		"somebody's size":            {openai.Descriptor, providers.Image, request{Model: "flux", Size: "100x-7"}, "size"},
		"a picture's seed":           {openai.Descriptor, providers.Image, request{Seed: &seed}, `"seed"`},
		"everything for speech":      {openai.Descriptor, providers.Audio, request{Voice: "v", Speed: &two, OutputFormat: "opus"}, ""},
		"a long speech":              {openai.Descriptor, providers.Audio, request{Model: "tts-1", Prompt: strings.Repeat("ä", 4097)}, "4096"},
		"the longest speech":         {openai.Descriptor, providers.Audio, request{Prompt: strings.Repeat("ä", 4096)}, ""},
		"somebody's long speech":     {openai.Descriptor, providers.Audio, request{Model: "kokoro", Prompt: strings.Repeat("ä", 4097), OutputFormat: "m4a"}, ""},
		"a speech's format":          {openai.Descriptor, providers.Audio, request{Model: "tts-1", OutputFormat: "midi"}, "output_format"},
		"instructions for tts-1":     {openai.Descriptor, providers.Audio, request{Model: "tts-1", Extra: llmExtra("instructions")}, "extra.instructions"},
		"instructions":               {openai.Descriptor, providers.Audio, request{Model: "gpt-4o-mini-tts", Extra: llmExtra("instructions")}, ""},
		"another text":               {openai.Descriptor, providers.Audio, request{Extra: llmExtra("input")}, "extra.input"},
		"a speech in events":         {openai.Descriptor, providers.Audio, request{Model: "gpt-4o-mini-tts", Extra: llmExtra("stream_format")}, "extra.stream_format"},
		"everything for film":        {openai.Compatible, providers.Video, request{Size: "640x360", Seconds: 4, Seed: &seed, NegativePrompt: "n", AspectRatio: "16:9"}, ""},
		"a film's size":              {openai.Compatible, providers.Video, request{Size: "hd"}, "size"},
		"a film by OpenAI itself":    {openai.Descriptor, providers.Video, request{}, "task"},
		"a film in a stream":         {openai.Compatible, providers.Video, request{Extra: llmExtra("stream")}, "extra.stream"},
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

func TestAnErrorNamesNoWayThatIsItselfRefused(t *testing.T) {
	t.Parallel()
	caps := openai.Descriptor().Capabilities()
	for name, want := range map[string]string{
		"max_tokens": `set "max_tokens" beside extra`, "size": "extra.size: not understood for text by this provider, which takes prompt, system",
		"voice": "extra.voice: not understood for text", "reasoning_effort": `extra.reasoning_effort: is called "effort" here`,
	} {
		err := caps.Check(providers.Request{Task: providers.Text, Prompt: "p", Extra: llmExtra(name)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("extra.%s: got %v, want %q", name, err, want)
		}
	}
}

// turnOf is a conversation of one turn.
func turnOf(role string, parts ...providers.Part) []providers.Message {
	return []providers.Message{{Role: role, Parts: parts}}
}

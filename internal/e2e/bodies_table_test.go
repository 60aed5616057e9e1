package e2e

import (
	"encoding/json"
	"maps"
	"strings"
)

const (
	schema61 = `{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}`
	user61   = `"messages":[{"role":"user","content":"$M"}]`
	chat     = "/v1/chat/completions"
	messages = "/v1/messages"
)

func openAIRows() []bodyRow {
	own := func(name, path, body string, media int) bodyRow {
		file := "openai-trim.json"
		if path == "/v1/images/edits" || path == "/v1/moderations" {
			file = "openai-more-trim.json"
		}
		return bodyRow{name: name, provider: "openai", endpoint: path, body: body, path: path, file: file, media: media}
	}
	luna := func(rest string) string { return `{"model":"gpt-6-luna",` + rest + `}` }
	parts := func(list string) string {
		return luna(`"messages":[{"role":"user","content":[{"type":"text","text":"$M"},` + list + `]}]`)
	}
	return []bodyRow{
		own("a chat", chat, luna(user61), 0),
		own("a chat's numbers", chat, luna(user61+`,"temperature":0.5,"top_p":0.9,"seed":7,"presence_penalty":0.1,"frequency_penalty":-0.1,"max_completion_tokens":300`), 0),
		own("a picture read", chat, parts(`{"type":"image_url","image_url":{"url":"data:image/png;base64,$PNG","detail":"low"}}`), 0),
		own("a picture's address", chat, parts(`{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}`), 0),
		own("a document", chat, parts(`{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,$PDF"}}`), 0),
		own("a sound heard", chat, strings.Replace(parts(`{"type":"input_audio","input_audio":{"data":"$WAV","format":"wav"}}`), "gpt-6-luna", "gpt-audio", 1), 0),
		own("tools", chat, luna(user61+`,"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"},"strict":false}}],"tool_choice":"auto","parallel_tool_calls":false,"reasoning_effort":"none"`), 0),
		own("tools answered", chat, luna(`"messages":[{"role":"user","content":"$M"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c1","content":"rain"}]`), 0),
		own("a developer", chat, luna(`"messages":[{"role":"developer","content":"be brief"},{"role":"user","name":"ada","content":"$M"}]`), 0),
		own("a schema", chat, luna(user61+`,"response_format":{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":`+schema61+`}}`), 0),
		own("any JSON", chat, luna(`"messages":[{"role":"user","content":"$M as JSON"}],"response_format":{"type":"json_object"}`), 0),
		own("several answers", chat, luna(user61+`,"n":2,"logprobs":true,"top_logprobs":3`), 0),
		own("terms", chat, luna(user61+`,"service_tier":"flex","reasoning_effort":"low","stop":["x","y"]`), 0),
		own("whose it is", chat, luna(user61+`,"user":"u1","metadata":{"a":"b"},"store":false,"prompt_cache_key":"k"`), 0),
		own("speech in a chat", chat, `{"model":"gpt-audio",`+user61+`,"modalities":["text","audio"],"audio":{"voice":"alloy","format":"wav"}}`, 1),
		own("a response", "/v1/responses", luna(`"input":"$M","instructions":"be brief","max_output_tokens":300`), 0),
		{ // an item of this form is two of the description's forms at once: it is not held against it
			name: "a response to items", provider: "openai", endpoint: "/v1/responses", path: "/v1/responses",
			body: luna(`"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"$M"},{"type":"input_image","detail":"auto","image_url":"data:image/png;base64,$PNG"}]}]`),
		},
		own("a response's tools", "/v1/responses", luna(`"input":"$M","tools":[{"type":"function","name":"weather","parameters":{"type":"object"},"strict":false}],"reasoning":{"effort":"low"}`), 0),
		own("a response's schema", "/v1/responses", luna(`"input":"$M","text":{"format":{"type":"json_schema","name":"answer","schema":`+schema61+`}}`), 0),
		own("a search", "/v1/responses", luna(`"input":"$M","tools":[{"type":"web_search"}],"service_tier":"priority"`), 0),
		own("a vector", "/v1/embeddings", `{"model":"text-embedding-3-small","input":"$M"}`, 0),
		own("vectors", "/v1/embeddings", `{"model":"text-embedding-3-small","input":["$M","b"],"dimensions":8,"encoding_format":"float"}`, 0),
		own("a judgement", "/v1/moderations", `{"model":"omni-moderation-latest","input":"$M"}`, 0),
		own("judgements", "/v1/moderations", `{"model":"omni-moderation-latest","input":["$M","b"]}`, 0),
		own("a picture", "/v1/images/generations", `{"model":"gpt-image-2","prompt":"$M","size":"1024x1024","quality":"low","background":"opaque","moderation":"low"}`, 1),
		own("pictures", "/v1/images/generations", `{"model":"gpt-image-2","prompt":"$M","n":2,"output_format":"jpeg","output_compression":50}`, 2),
		own("an edit", "/v1/images/edits", `{"model":"gpt-image-2","prompt":"$M","images":[{"image_url":"data:image/png;base64,$PNG"}],"quality":"low"}`, 1),
		own("speech", "/v1/audio/speech", `{"model":"gpt-4o-mini-tts","input":"$M","voice":"alloy","instructions":"softly"}`, 1),
		own("fast speech", "/v1/audio/speech", `{"model":"gpt-4o-mini-tts","input":"$M","voice":"coral","response_format":"wav","speed":1.5}`, 1),
		{ // at a server of its protocol: its own have ended
			name: "a film", provider: "films", endpoint: "/v1/videos", path: "/v1/videos", media: 1,
			body: `{"model":"sora-2","prompt":"$M","seconds":"4","size":"720x1280"}`, form: map[string]string{"model": "sora-2", "prompt": "$M", "seconds": "4", "size": "720x1280"},
		},
		{
			name: "a line of a batch file", provider: "openai", path: chat, file: "openai-trim.json", want: luna(user61),
			fields: map[string]any{"method": "POST", "url": chat, "body": json.RawMessage(luna(user61))},
		},
	}
}

func anthropicRows() []bodyRow {
	own := func(name, rest string) bodyRow {
		return bodyRow{
			name: name, provider: "anthropic", endpoint: messages, path: messages, file: "anthropic-trim.json",
			body: `{"model":"claude-haiku-5-5","max_tokens":300,` + rest + `}`,
		}
	}
	parts := func(name, list string) bodyRow {
		return own(name, `"messages":[{"role":"user","content":[{"type":"text","text":"$M"},`+list+`]}]`)
	}
	return []bodyRow{
		own("a message", user61),
		own("a kept prompt", `"system":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral","ttl":"1h"}}],`+user61),
		parts("a picture seen", `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"$PNG"}}`),
		parts("a picture at an address", `{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}`),
		parts("a PDF", `{"type":"document","title":"a","source":{"type":"base64","media_type":"application/pdf","data":"$PDF"}}`),
		parts("a plain document", `{"type":"document","source":{"type":"text","media_type":"text/plain","data":"words"},"citations":{"enabled":true}}`),
		own("a tool", user61+`,"tools":[{"name":"weather","input_schema":{"type":"object"}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}`),
		own("a tool's answer", `"messages":[{"role":"user","content":"$M"},{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"weather","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"rain","is_error":false}]}],"tools":[{"name":"weather","input_schema":{"type":"object"}}]`),
		own("a format", user61+`,"output_config":{"format":{"type":"json_schema","schema":`+schema61+`}}`),
		own("stops", user61+`,"stop_sequences":["x"],"metadata":{"user_id":"u"},"service_tier":"standard_only","top_k":5`),
		own("a search of the web", user61+`,"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":1}]`),
		{
			name: "a line of params", provider: "anthropic", path: messages, file: "anthropic-trim.json", want: `{"model":"claude-haiku-5-5","max_tokens":9,` + user61 + `}`,
			fields: map[string]any{"params": json.RawMessage(`{"model":"claude-haiku-5-5","max_tokens":9,` + user61 + `}`)},
		},
	}
}

func geminiRows() []bodyRow {
	own := func(name, model, method, body string, media int) bodyRow {
		path := "/v1beta/models/" + model + ":" + method
		return bodyRow{name: name, provider: "gemini", endpoint: path, path: path, body: body, file: "gemini-trim.json", media: media}
	}
	lite := func(name, body string) bodyRow { return own(name, "gemini-3.5-flash-lite", "generateContent", body, 0) }
	turn := func(more string) string { return `{"contents":[{"role":"user","parts":[{"text":"$M"}` + more + `]}]` }
	return []bodyRow{
		lite("a content", turn("")+`}`),
		lite("all that generates", turn("")+`,"systemInstruction":{"parts":[{"text":"be brief"}]},"serviceTier":"flex",
			"generationConfig":{"temperature":0.5,"topP":0.9,"topK":4,"maxOutputTokens":300,"stopSequences":["x"],"seed":7,"thinkingConfig":{"thinkingLevel":"LOW"}},
			"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_NONE"}]}`),
		lite("a picture inline", turn(`,{"inlineData":{"mimeType":"image/png","data":"$PNG"}}`)+`}`),
		lite("a sound inline", turn(`,{"inlineData":{"mimeType":"audio/wav","data":"$WAV"}}`)+`}`),
		lite("a PDF inline", turn(`,{"inlineData":{"mimeType":"application/pdf","data":"$PDF"}}`)+`}`),
		lite("a file's address", turn(`,{"fileData":{"mimeType":"application/pdf","fileUri":"https://example.com/a.pdf"}}`)+`}`),
		lite("functions", turn("")+`,"tools":[{"functionDeclarations":[{"name":"weather","description":"of a city","parametersJsonSchema":{"type":"object","properties":{"city":{"type":"string"}}}}]}],
			"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["weather"]}}}`),
		lite("a function's answer", `{"contents":[{"role":"user","parts":[{"text":"$M"}]},{"role":"model","parts":[{"functionCall":{"name":"weather","args":{}},"thoughtSignature":"c2lnbmVk"}]},
			{"role":"user","parts":[{"functionResponse":{"name":"weather","response":{"sky":"blue"}}}]}]}`),
		lite("a JSON schema", turn("")+`,"generationConfig":{"responseMimeType":"application/json","responseJsonSchema":`+schema61+`}}`),
		lite("Google's search", turn("")+`,"tools":[{"googleSearch":{}}]}`),
		own("a text and a picture", "gemini-3.1-flash-image", "generateContent", turn("")+`,"generationConfig":{"responseModalities":["TEXT","IMAGE"],"imageConfig":{"aspectRatio":"16:9"}}}`, 1),
		own("a content's vector", "gemini-embedding-2", "embedContent", `{"content":{"parts":[{"text":"$M"}]},"outputDimensionality":8,"taskType":"CLUSTERING"}`, 0),
		own("contents' vectors", "gemini-embedding-2", "batchEmbedContents", `{"requests":[{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"$M"}]}},{"model":"models/gemini-embedding-2","content":{"parts":[{"text":"b"}]}}]}`, 0),
	}
}

// namedRows are asked for in named options: what arrives is typed from each vendor's
// documentation.
func namedRows() []bodyRow {
	conversation := []map[string]any{
		{"role": "system", "content": "be brief"},
		{"role": "user", "content": []map[string]any{
			{"type": "text", "text": "$M", "cache": true}, {"type": "image", "data": "$PNG", "mime": "image/png"}, {"type": "document", "data": "$PDF", "mime": "application/pdf", "name": "a.pdf"},
		}},
	}
	tools := []map[string]any{{"name": "weather", "description": "of a city", "parameters": map[string]any{"type": "object"}}}
	fields := func(provider string, more map[string]any) map[string]any {
		row := map[string]any{"provider": provider, "messages": conversation, "tools": tools, "tool_choice": "required", "max_tokens": 300}
		maps.Copy(row, more)
		return row
	}
	return []bodyRow{
		{
			name: "a prompt to OpenAI", provider: "openai", path: chat, file: "openai-trim.json",
			fields: map[string]any{"prompt": "$M", "system": "be brief", "max_tokens": 300, "effort": "none", "temperature": 0.5, "service_tier": "flex", "n": 2, "extra": map[string]any{"store": true}},
			want: `{"model":"gpt-6-luna","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"$M"}],"max_completion_tokens":300,"reasoning_effort":"none",
				"temperature":0.5,"service_tier":"flex","n":2,"store":true}`,
		},
		{
			name: "parts to OpenAI", provider: "openai", path: chat, file: "openai-trim.json", fields: fields("openai", map[string]any{"effort": "none"}),
			want: `{"model":"gpt-6-luna","messages":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"$M","prompt_cache_breakpoint":{"mode":"explicit"}},
				{"type":"image_url","image_url":{"url":"data:image/png;base64,$PNG"}},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,$PDF"}}]}],
				"tools":[{"type":"function","function":{"name":"weather","description":"of a city","parameters":{"type":"object"}}}],"tool_choice":"required","max_completion_tokens":300,"reasoning_effort":"none"}`,
		},
		{
			name: "parts to Anthropic", provider: "anthropic", path: messages, file: "anthropic-trim.json", fields: fields("anthropic", nil),
			want: `{"model":"claude-haiku-5-5","max_tokens":300,"system":[{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":[
				{"type":"text","text":"$M","cache_control":{"type":"ephemeral"}},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"$PNG"}},
				{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"$PDF"}}]}],
				"tools":[{"name":"weather","description":"of a city","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"}}`,
		},
		{
			name: "parts to Google", provider: "gemini", path: "/v1beta/models/gemini-3.5-flash-lite:generateContent", file: "gemini-trim.json",
			fields: fields("gemini", map[string]any{"effort": "low"}),
			want: `{"systemInstruction":{"parts":[{"text":"be brief"}]},"contents":[{"role":"user","parts":[{"text":"$M"},{"inlineData":{"mimeType":"image/png","data":"$PNG"}},
				{"inlineData":{"mimeType":"application/pdf","data":"$PDF"}}]}],"tools":[{"functionDeclarations":[{"name":"weather","description":"of a city","parametersJsonSchema":{"type":"object"}}]}],
				"toolConfig":{"functionCallingConfig":{"mode":"ANY"}},"generationConfig":{"maxOutputTokens":300,"thinkingConfig":{"thinkingLevel":"LOW"}}}`,
		},
		{
			name: "a vector of Google's", provider: "gemini", path: "/v1beta/models/gemini-embedding-2:embedContent", file: "gemini-trim.json",
			fields: map[string]any{"task": "embedding", "input": "$M", "dimensions": 8}, want: `{"content":{"parts":[{"text":"$M"}]},"outputDimensionality":8}`,
		},
		{
			name: "a sound to Google", provider: "gemini", path: "/v1beta/models/gemini-3.5-flash-lite:generateContent", file: "gemini-trim.json",
			fields: map[string]any{"task": "transcription", "prompt": "$M", "file": "sound.wav"},
			want: `{"contents":[{"role":"user","parts":[{"text":"Transcribe what is said, word for word. Answer with the transcript alone, and with nothing where nobody speaks. A hint at what is said: $M"},
				{"inlineData":{"mimeType":"audio/wav","data":"$WAV"}}]}]}`,
		},
		{
			name: "a film by Veo", provider: "gemini", path: "/v1beta/models/veo-3.1-lite-generate-preview:predictLongRunning", media: 1,
			fields: map[string]any{"task": "video", "prompt": "$M", "size": "720x1280", "seconds": 4, "negative_prompt": "rain"},
			want:   `{"instances":[{"prompt":"$M"}],"parameters":{"aspectRatio":"9:16","resolution":"720p","durationSeconds":4,"negativePrompt":"rain"}}`,
		},
		{
			name: "a sound to OpenAI", provider: "openai", path: "/v1/audio/transcriptions", file: "openai-more-trim.json",
			fields: map[string]any{"task": "transcription", "prompt": "$M", "file": "sound.wav", "language": "en"},
			form:   map[string]string{"model": "gpt-transcribe", "prompt": "$M", "language": "en", "response_format": "json"},
		},
		{
			name: "a body of a transcription", provider: "openai", path: "/v1/audio/transcriptions", file: "openai-more-trim.json",
			fields: map[string]any{"endpoint": "/v1/audio/transcriptions", "body": map[string]any{
				"model": "whisper-1", "file": "sound.wav", "prompt": "$M", "response_format": "verbose_json", "timestamp_granularities": []string{"word"},
			}},
			form: map[string]string{"model": "whisper-1", "prompt": "$M", "response_format": "verbose_json", "timestamp_granularities[]": "word"},
		},
		{
			name: "a picture by Stability", provider: "stability", path: "/v2beta/stable-image/generate/core", media: 1,
			fields: map[string]any{"task": "image", "prompt": "$M", "aspect_ratio": "16:9", "seed": 7, "output_format": "png"},
			form:   map[string]string{"prompt": "$M", "aspect_ratio": "16:9", "seed": "7", "output_format": "png"},
		},
		{
			name: "a voice", provider: "elevenlabs", path: "/v1/text-to-speech/21m00Tcm4TlvDq8ikWAM", file: "elevenlabs-trim.json", media: 1,
			fields: map[string]any{"task": "audio", "prompt": "$M", "model": "eleven_flash_v2_5", "voice": "21m00Tcm4TlvDq8ikWAM", "speed": 1.1},
			want:   `{"text":"$M","model_id":"eleven_flash_v2_5","voice_settings":{"speed":1.1}}`,
		},
	}
}

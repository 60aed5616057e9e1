package anthropic

import (
	"encoding/json"
	"strings"

	"oneflow/providers"
)

// messagesPath is the endpoint that takes bodies in Anthropic's own words.
const messagesPath = "/v1/messages"

// readBody reads a body for /v1/messages.
func readBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	b.Into("model", &req.Model)
	if system := b.Take("system"); strings.HasPrefix(string(system), "[") {
		messages, unknown, err := providers.ReadMessages(json.RawMessage(`[{"role":"system","content":` + string(system) + `}]`))
		if err != nil {
			return req, nil, err
		}
		for _, path := range unknown {
			b.Unknown("system" + strings.TrimPrefix(path, "messages[0].content"))
		}
		req.Messages = messages
	} else if system != nil {
		if err := json.Unmarshal(system, &req.System); err != nil {
			return req, nil, err
		}
	}
	b.Conversation(&req)
	b.Into("max_tokens", &req.MaxTokens)
	b.Into("temperature", &req.Temperature)
	b.Into("top_p", &req.TopP)
	b.Strings("stop_sequences", &req.Stop)
	b.Into("service_tier", &req.ServiceTier)
	b.Inside("output_config", func(output *providers.BodyReader) {
		output.Into("effort", &req.Effort)
		output.Inside("format", func(format *providers.BodyReader) {
			schema := &providers.JSONSchema{Name: "answer"} // Anthropic has no name for it
			f := &providers.ResponseFormat{JSONSchema: schema}
			format.Into("type", &f.Type)
			format.Into("schema", &schema.Schema)
			req.ResponseFormat = f
		})
	})
	return b.End(req)
}

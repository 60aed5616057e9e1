package gemini

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"oneflow/providers"
)

// The endpoints that take bodies in Google's own words. The model is in the path.
const (
	generatePath  = version + "/models/" + providers.ModelInPath + generate
	embedPath     = version + "/models/" + providers.ModelInPath + embedOne
	embedManyPath = version + "/models/" + providers.ModelInPath + embedMany
)

// Google's methods of a model.
const (
	generate  = ":generateContent"
	embedOne  = ":embedContent"
	embedMany = ":batchEmbedContents"
	film      = ":predictLongRunning"
)

// prefix stands before the name of a model where Google names it in full.
const prefix = "models/"

func endpoints() []providers.Endpoint {
	return []providers.Endpoint{
		{Path: generatePath, Task: providers.Text, Read: readBody, Revise: revise},
		{Path: embedPath, Task: providers.Embedding, Read: readVectorBody},
		{Path: embedManyPath, Task: providers.Embedding, Read: readVectorBody},
	}
}

// readBody reads a body for :generateContent.
func readBody(body json.RawMessage) (providers.Request, []string, error) {
	var req providers.Request
	b := providers.ReadBody(body)
	b.Into("model", &req.Model)
	req.Model = strings.TrimPrefix(req.Model, prefix)
	var system googleTurn
	for _, name := range []string{"systemInstruction", "system_instruction"} {
		if raw := b.Take(name); raw != nil {
			if err := json.Unmarshal(raw, &system); err != nil {
				return req, nil, fmt.Errorf("%s: must be a content with parts", name)
			}
			for i, p := range system.Parts {
				at := fmt.Sprintf("%s.parts[%d]", name, i)
				one := p.read(b, at, nil)
				if req.System += one.Text; one.Type != providers.TextPart && one.Type != "" {
					b.Unknown(at)
				}
			}
		}
	}
	var turns []googleTurn
	b.Into("contents", &turns)
	calls := &openCalls{made: map[string]int{}}
	for i, turn := range turns {
		turn.read(b, fmt.Sprintf("contents[%d]", i), calls, &req)
	}
	readTools(b, &req)
	b.Into("serviceTier", &req.ServiceTier)
	switch req.ServiceTier {
	case "standard":
		req.ServiceTier = "default"
	case "unspecified":
		req.ServiceTier = ""
	}
	readConfig(b, &req)
	return b.End(req)
}

// readConfig reads the options of generation.
func readConfig(b *providers.BodyReader, req *providers.Request) {
	b.Inside("generationConfig", func(config *providers.BodyReader) {
		var mime string
		var modalities []string
		config.Into("maxOutputTokens", &req.MaxTokens)
		config.Into("temperature", &req.Temperature)
		config.Into("topP", &req.TopP)
		config.Into("stopSequences", &req.Stop)
		config.Seed("seed", &req.Seed)
		config.Into("candidateCount", &req.N)
		if req.N == 1 {
			req.N = 0
		}
		config.Into("responseMimeType", &mime)
		schema := config.Take("responseJsonSchema")
		switch {
		case schema != nil:
			req.ResponseFormat = &providers.ResponseFormat{Type: "json_schema", JSONSchema: &providers.JSONSchema{Name: "answer", Schema: schema}}
		case mime == "application/json":
			req.ResponseFormat = &providers.ResponseFormat{Type: "json_object"}
		case mime != "" && mime != "text/plain":
			config.Unknown("responseMimeType")
		}
		config.Into("responseModalities", &modalities)
		if slices.ContainsFunc(modalities, func(m string) bool { return m != "TEXT" }) {
			config.Unknown("responseModalities")
		}
		config.Inside("thinkingConfig", func(thinking *providers.BodyReader) {
			thinking.Into("thinkingLevel", &req.Effort)
			req.Effort = strings.ToLower(req.Effort)
		})
	})
}

// readTools reads definitions of functions, Google's own tools, and the choice of one.
func readTools(b *providers.BodyReader, req *providers.Request) {
	var all []map[string]json.RawMessage
	b.Into("tools", &all)
	for i, one := range all {
		for _, name := range slices.Sorted(maps.Keys(one)) {
			raw := one[name]
			if name != "functionDeclarations" {
				req.Tools = append(req.Tools, providers.Tool{Own: mustJSON(map[string]json.RawMessage{name: raw})})
				continue
			}
			var functions []struct {
				Name                 string          `json:"name"`
				Description          string          `json:"description"`
				ParametersJSONSchema json.RawMessage `json:"parametersJsonSchema"`
				Parameters           json.RawMessage `json:"parameters"`
			}
			var declared []json.RawMessage
			if json.Unmarshal(raw, &functions) != nil || json.Unmarshal(raw, &declared) != nil {
				b.Unknown(fmt.Sprintf("tools[%d].functionDeclarations", i))
				continue
			}
			for j, f := range functions {
				if f.Parameters != nil { // Google's own form of a schema
					b.Unknown(fmt.Sprintf("tools[%d].functionDeclarations[%d].parameters", i, j))
				}
				noteOthers(b, fmt.Sprintf("tools[%d].functionDeclarations[%d]", i, j), declared[j], "name", "description", "parametersJsonSchema", "parameters")
				req.Tools = append(req.Tools, providers.Tool{Name: f.Name, Description: f.Description, Parameters: f.ParametersJSONSchema})
			}
		}
	}
	b.Inside("toolConfig", func(config *providers.BodyReader) {
		config.Inside("functionCallingConfig", func(calling *providers.BodyReader) {
			var mode string
			var names []string
			calling.Into("mode", &mode)
			calling.Into("allowedFunctionNames", &names)
			choice := &providers.ToolChoice{Mode: map[string]string{"AUTO": "auto", "NONE": "none", "ANY": "required"}[mode]}
			switch {
			case choice.Mode == "required" && len(names) == 1:
				choice.Mode, choice.Name = "tool", names[0]
			case len(names) > 0:
				calling.Unknown("allowedFunctionNames")
			}
			if choice.Mode == "" {
				calling.Unknown("mode")
				return
			}
			req.ToolChoice = choice
		})
	})
}

// revise asks again in Google's words.
func revise(body json.RawMessage, r providers.Revision) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	if r.Paused != nil {
		return nil, errors.New("no answer is paused by Google")
	}
	if r.MaxTokens > 0 {
		config := map[string]json.RawMessage{}
		if raw := fields["generationConfig"]; raw != nil && json.Unmarshal(raw, &config) != nil {
			return nil, errors.New("generationConfig: must be an object")
		}
		config["maxOutputTokens"] = json.RawMessage(strconv.FormatInt(r.MaxTokens, 10))
		fields["generationConfig"] = mustJSON(config)
	}
	if r.Objection != "" {
		var turns []json.RawMessage
		if err := json.Unmarshal(fields["contents"], &turns); err != nil {
			return nil, err
		}
		if strings.TrimSpace(r.Answer) != "" {
			turns = append(turns, mustJSON(content{"model", []part{{Text: r.Answer}}}))
		}
		turns = append(turns, mustJSON(content{"user", []part{{Text: r.Objection}}}))
		fields["contents"] = mustJSON(turns)
	}
	return mustJSON(fields), nil
}

// readVectorBody reads a body for :embedContent or :batchEmbedContents.
func readVectorBody(body json.RawMessage) (providers.Request, []string, error) {
	type one struct {
		Model     string     `json:"model"`
		Content   googleTurn `json:"content"`
		Dimension int        `json:"outputDimensionality"`
	}
	var req providers.Request
	b := providers.ReadBody(body)
	var single one
	var many []one
	b.Into("model", &single.Model)
	b.Into("content", &single.Content)
	b.Into("outputDimensionality", &req.Dimensions)
	b.Into("requests", &many)
	if len(many) > 0 {
		b.Unknown("requests")
	}
	for i, each := range append(many, single) {
		if each.Model != "" {
			req.Model = strings.TrimPrefix(each.Model, prefix)
		}
		for j, p := range each.Content.Parts {
			if text := p.read(b, fmt.Sprintf("content.parts[%d]", j), nil); text.Type == providers.TextPart {
				req.Prompt += text.Text
			} else {
				b.Unknown(fmt.Sprintf("content[%d].parts[%d]", i, j))
				req.Messages = append(req.Messages, providers.Message{Role: "user", Parts: []providers.Part{text}}) // so that it is counted
			}
		}
	}
	return b.End(req)
}

// mustJSON encodes what was decoded from JSON, or holds texts alone.
func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("null")
	}
	return data
}

package fakeprovider

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"oneflow/internal/media"
)

// googlePart is a part of a turn. Of the fields of its data one must be there.
type googlePart struct {
	Text       *string     `json:"text"`
	InlineData *googleBlob `json:"inlineData"`
	FileData   *struct {
		FileURI  string `json:"fileUri"`
		MimeType string `json:"mimeType"`
	} `json:"fileData"`
	FunctionCall *struct {
		ID   string                     `json:"id"`
		Name string                     `json:"name"`
		Args map[string]json.RawMessage `json:"args"`
	} `json:"functionCall"`
	FunctionResponse *struct {
		ID       string                     `json:"id"`
		Name     string                     `json:"name"`
		Response map[string]json.RawMessage `json:"response"`
	} `json:"functionResponse"`
	ThoughtSignature string `json:"thoughtSignature"`

	fields map[string]json.RawMessage
}

type googleBlob struct {
	MimeType string `json:"mimeType"`
	Data     []byte `json:"data"`
}

// UnmarshalJSON keeps the names of all fields.
func (p *googlePart) UnmarshalJSON(data []byte) error {
	type plain googlePart
	if err := json.Unmarshal(data, (*plain)(p)); err != nil {
		return err
	}
	return json.Unmarshal(data, &p.fields)
}

type googleContent struct {
	Role  string       `json:"role"`
	Parts []googlePart `json:"parts"`
}

// text is the text of all parts.
func (c googleContent) text() string {
	var all strings.Builder
	for _, p := range c.Parts {
		if p.Text != nil {
			all.WriteString(*p.Text)
		}
	}
	return all.String()
}

// calls and responses count the parts of a turn that call tools, or say what they said.
func (c googleContent) calls() (calls, responses int) {
	for _, p := range c.Parts {
		if p.FunctionCall != nil {
			calls++
		}
		if p.FunctionResponse != nil {
			responses++
		}
	}
	return calls, responses
}

type googleFunction struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"parametersJsonSchema"`
}

type googleTool struct {
	Functions    []googleFunction `json:"functionDeclarations"`
	GoogleSearch json.RawMessage  `json:"googleSearch"`
}

type googleRequest struct {
	Contents          []googleContent `json:"contents"`
	SystemInstruction *googleContent  `json:"systemInstruction"`
	ServiceTier       string          `json:"serviceTier"`
	Tools             []googleTool    `json:"tools"`
	ToolConfig        struct {
		Calling struct {
			Mode    string   `json:"mode"`
			Allowed []string `json:"allowedFunctionNames"`
		} `json:"functionCallingConfig"`
	} `json:"toolConfig"`
	Config struct {
		MaxOutputTokens    *int64          `json:"maxOutputTokens"`
		Temperature        *float64        `json:"temperature"`
		TopP               *float64        `json:"topP"`
		StopSequences      []string        `json:"stopSequences"`
		Seed               *int32          `json:"seed"`
		CandidateCount     *int            `json:"candidateCount"`
		ResponseMimeType   string          `json:"responseMimeType"`
		ResponseJSONSchema json.RawMessage `json:"responseJsonSchema"`
		ResponseModalities []string        `json:"responseModalities"`
		ImageConfig        struct {
			AspectRatio string `json:"aspectRatio"`
			ImageSize   string `json:"imageSize"`
		} `json:"imageConfig"`
		ThinkingConfig struct {
			ThinkingBudget *int64 `json:"thinkingBudget"`
			ThinkingLevel  string `json:"thinkingLevel"`
		} `json:"thinkingConfig"`
	} `json:"generationConfig"`
}

// functions are those that the request declares.
func (r *googleRequest) functions() []googleFunction {
	var all []googleFunction
	for _, t := range r.Tools {
		all = append(all, t.Functions...)
	}
	return all
}

// googleSeconds is the length of a sound: by the head of a WAV, else by its bytes.
func googleSeconds(data []byte) int64 {
	rate := int64(4000)
	if len(data) >= 44 && string(data[:4]) == "RIFF" {
		rate = max(1, int64(binary.LittleEndian.Uint32(data[28:])))
		data = data[44:]
	}
	return (int64(len(data)) + rate - 1) / rate
}

// reads counts the tokens of the turns: texts by countTokens, a picture or a page as 258, a
// second of sound as 32.
func (r *googleRequest) reads() (text, images, sound int64) {
	turns := r.Contents
	if r.SystemInstruction != nil {
		turns = append(slices.Clone(turns), *r.SystemInstruction)
	}
	for _, turn := range turns {
		text += countTokens(turn.text())
		for _, p := range turn.Parts {
			if p.FunctionCall != nil || p.FunctionResponse != nil {
				text += countTokens(string(p.fields["functionCall"]) + string(p.fields["functionResponse"]))
			}
			if p.InlineData == nil {
				continue
			}
			switch kind, _, _ := strings.Cut(p.InlineData.MimeType, "/"); kind {
			case "audio":
				sound += 32 * googleSeconds(p.InlineData.Data)
			case "text":
				text += countTokens(string(p.InlineData.Data))
			default:
				images += 258
			}
		}
	}
	for _, f := range r.functions() {
		text += countTokens(f.Name + string(f.Schema))
	}
	return text, images, sound
}

// thinks returns the number of tokens that the model thinks before it answers: they are beside
// those of the candidates, and count for the cap.
func (r *googleRequest) thinks(c *call) int64 {
	if budget := r.Config.ThinkingConfig.ThinkingBudget; budget != nil {
		return *budget
	}
	return int64(c.seed()%7) + 1
}

// googleMade holds the parts that the model made, and their tokens.
type googleMade struct {
	parts           []map[string]any
	reason          string
	text            int64 // tokens
	pictures, sound int64 // tokens
}

// make writes, draws, speaks, or calls a function.
func (r *googleRequest) make(c *call, thoughts int64) (googleMade, string) {
	made := googleMade{reason: "STOP"}
	modalities := r.Config.ResponseModalities
	draws := slices.Contains(modalities, "IMAGE") || len(modalities) == 0 && strings.Contains(c.model, "-image")
	speaks := slices.Contains(modalities, "AUDIO")
	writes := !draws && !speaks || slices.Contains(modalities, "TEXT") || draws && len(modalities) == 0
	if c.fault == Refused {
		return googleMade{reason: "SAFETY"}, ""
	}
	if functions := r.functions(); r.ToolConfig.Calling.Mode == "ANY" && len(functions) > 0 {
		f := functions[0]
		for _, one := range functions {
			if len(r.ToolConfig.Calling.Allowed) > 0 && one.Name == r.ToolConfig.Calling.Allowed[0] {
				f = one
			}
		}
		args := "{}"
		if f.Schema != nil {
			var err error
			if args, err = media.JSON(c.seed(), f.Schema); err != nil {
				return made, "* GenerateContentRequest.tools[0].function_declarations[0].parameters_json_schema: " + err.Error()
			}
		}
		made.parts = []map[string]any{{"functionCall": map[string]any{"id": "call" + c.id, "name": f.Name, "args": json.RawMessage(args)}, "thoughtSignature": "c2lnbmVk"}}
		made.text = countTokens(f.Name + args)
		return made, ""
	}
	if writes {
		var limit int64
		if r.Config.MaxOutputTokens != nil {
			if limit = *r.Config.MaxOutputTokens - thoughts; limit <= 0 {
				return googleMade{reason: "MAX_TOKENS"}, ""
			}
		}
		out, err := write(c, 0, r.Config.ResponseMimeType == "application/json", r.Config.ResponseJSONSchema, r.Config.StopSequences, limit)
		if err != nil {
			return made, "* GenerateContentRequest.generation_config.response_json_schema: " + err.Error()
		}
		made.parts, made.text = append(made.parts, map[string]any{"text": out.text}), out.tokens
		if out.length {
			made.reason = "MAX_TOKENS"
		}
	}
	inline := func(mime string, data []byte) {
		made.parts = append(made.parts, map[string]any{"inlineData": map[string]any{"mimeType": mime, "data": base64.StdEncoding.EncodeToString(data)}})
	}
	if draws {
		w, h := shapeOf(r.Config.ImageConfig.AspectRatio)
		inline("image/png", picture(c.seed(), "png", w, h))
		made.pictures = 1290
	}
	if speaks {
		inline("audio/L16;codec=pcm;rate=24000", media.PCM(c.seed(), 24000, time.Second))
		made.sound = 25
	}
	return made, ""
}

// answer makes the answer, and counts what it used.
func (r *googleRequest) answer(c *call) answer {
	prompt, images, sound := r.reads()
	thoughts := r.thinks(c)
	if most := r.Config.MaxOutputTokens; most != nil {
		thoughts = min(thoughts, *most)
	}
	made, refusal := r.make(c, thoughts)
	if refusal != "" {
		return googleInvalid(refusal)
	}
	content := map[string]any{"role": "model"}
	if made.parts != nil || made.reason == "MAX_TOKENS" {
		content["parts"] = append([]map[string]any{{"text": "I think.", "thought": true}}, made.parts...)
	}
	tier := r.ServiceTier
	if tier == "" || tier == "unspecified" {
		tier = "standard"
	}
	candidates := made.text + made.pictures + made.sound
	usage := map[string]any{
		"promptTokenCount": prompt + images + sound, "candidatesTokenCount": candidates, "thoughtsTokenCount": thoughts,
		"totalTokenCount": prompt + images + sound + candidates + thoughts, "serviceTier": tier,
		"promptTokensDetails": googleModalities("TEXT", prompt, "IMAGE", images, "AUDIO", sound),
	}
	if made.pictures+made.sound > 0 {
		usage["candidatesTokensDetails"] = googleModalities("TEXT", made.text, "IMAGE", made.pictures, "AUDIO", made.sound)
	}
	candidate := map[string]any{"content": content, "finishReason": made.reason, "index": 0}
	searches := int64(0)
	if slices.ContainsFunc(r.Tools, func(t googleTool) bool { return t.GoogleSearch != nil }) {
		candidate["groundingMetadata"] = map[string]any{"webSearchQueries": []string{"what is it", "what is it not"}}
		searches = 2
	}
	a := jsonAnswer(http.StatusOK, map[string]any{
		"candidates": []map[string]any{candidate}, "usageMetadata": usage, "modelVersion": c.model, "responseId": c.id,
	})
	a.usage = Usage{InputTokens: prompt + images + sound, OutputTokens: candidates + thoughts}
	if made.pictures > 0 {
		a.usage.Images = 1
	}
	a.billed = Billed{
		Input: prompt + images, AudioInput: sound, Output: made.text + thoughts, ImageOutput: made.pictures, AudioOutput: made.sound,
		Searches: searches, Tier: r.ServiceTier,
	}
	return a
}

// googleModalities lists counts by modality, without those that are 0.
func googleModalities(pairs ...any) []map[string]any {
	var out []map[string]any
	for i := 0; i+1 < len(pairs); i += 2 {
		if n, ok := pairs[i+1].(int64); ok && n > 0 {
			out = append(out, map[string]any{"modality": pairs[i], "tokenCount": n})
		}
	}
	return out
}

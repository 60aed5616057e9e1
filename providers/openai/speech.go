package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// defaultVoice is used where a request names none: OpenAI needs one.
const defaultVoice = "alloy"

func (p *Provider) speech(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	a, failure := p.postJSON(ctx, secret, "/audio/speech", p.speechFields(model, req), "application/octet-stream", wire.MaxAnswer, req)
	usage := providers.Usage{Characters: int64(utf8.RuneCountInString(req.Prompt))}
	if failure != nil {
		return providers.Response{}, wire.Used(failure, usage)
	}
	return p.readSpeech(a, model, req, usage)
}

// speechFields is req in OpenAI's words.
func (p *Provider) speechFields(model string, req providers.Request) map[string]any {
	fields := map[string]any{"input": req.Prompt, "model": model, "voice": p.config.Voice}
	switch {
	case strings.HasPrefix(req.Voice, "voice_"): // one of the customer's own
		fields["voice"] = map[string]string{"id": req.Voice}
	case req.Voice != "":
		fields["voice"] = req.Voice
	}
	if req.OutputFormat != "" {
		fields["response_format"] = req.OutputFormat
	}
	if req.Speed != nil {
		fields["speed"] = *req.Speed
	}
	return fields
}

// readSpeech judges the answer to a call for speech, whose body is the sound.
// OpenAI reports no usage for it: what is known are the characters spoken.
func (p *Provider) readSpeech(a wire.Answer, model string, req providers.Request, usage providers.Usage) (providers.Response, *providers.Error) {
	if len(a.Body) == 0 {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrEmpty, usage)
	}
	kind := providers.MediaType(a.Body)
	if kind == "" && req.OutputFormat == "pcm" && samples(a) {
		kind = "audio/pcm" // bare samples carry no mark
	}
	if kind == "video/mp4" { // AAC in a container that says no more than that
		kind = "audio/mp4"
	}
	if !strings.HasPrefix(kind, "audio/") {
		return providers.Response{}, p.caller.Malformed(a, wire.ErrMediaType, usage)
	}
	res := p.response(a, model, "", usage)
	res.Raw = nil
	res.Blobs = []providers.Blob{{MIME: kind, Data: a.Body}}
	return res, nil
}

// samples reports whether an answer may be bare samples: neither text nor said to
// be.
func samples(a wire.Answer) bool {
	said, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err == nil && (strings.HasPrefix(said, "text/") || strings.HasSuffix(said, "json")) {
		return false
	}
	return !json.Valid(a.Body) && !bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<"))
}

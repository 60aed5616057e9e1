package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// defaultVoice is used where a request names none: OpenAI needs one.
const defaultVoice = "alloy"

func (p *Provider) speech(ctx context.Context, secret, model string, req providers.Request) (providers.Response, *providers.Error) {
	service := openai.NewAudioSpeechService(p.options(secret)...)
	a, failure := p.send(ctx, wire.MaxAnswer, func(ctx context.Context, sending ...option.RequestOption) error {
		res, err := service.New(ctx, speechParams(model, req), sending...)
		if res != nil {
			_ = res.Body.Close() // never there: the answer is kept by the exchange
		}
		return err
	})
	if failure != nil {
		return providers.Response{}, failure
	}
	return p.readSpeech(a, model, req)
}

// speechParams is req in OpenAI's words.
func speechParams(model string, req providers.Request) openai.AudioSpeechNewParams {
	params := openai.AudioSpeechNewParams{
		Input:          req.Prompt,
		Model:          model,
		ResponseFormat: openai.AudioSpeechNewParamsResponseFormat(req.OutputFormat),
	}
	switch {
	case strings.HasPrefix(req.Voice, "voice_"): // one of the customer's own
		params.Voice.OfAudioSpeechNewsVoiceID = &openai.AudioSpeechNewParamsVoiceID{ID: req.Voice}
	case req.Voice != "":
		params.Voice.OfString = openai.String(req.Voice)
	default:
		params.Voice.OfString = openai.String(defaultVoice)
	}
	if req.Speed != nil {
		params.Speed = openai.Float(*req.Speed)
	}
	params.SetExtraFields(extra(req))
	return params
}

// readSpeech judges the answer to a call for speech, whose body is the sound.
// OpenAI reports no usage for it: what is known are the characters spoken.
func (p *Provider) readSpeech(a wire.Answer, model string, req providers.Request) (providers.Response, *providers.Error) {
	usage := providers.Usage{Characters: int64(utf8.RuneCountInString(req.Prompt))}
	if len(a.Body) == 0 {
		return providers.Response{}, p.unusable(a, wire.ErrEmpty, usage)
	}
	kind := wire.MediaType(a.Body)
	if kind == "" && req.OutputFormat == "pcm" && samples(a) {
		kind = "audio/pcm" // bare samples carry no mark
	}
	if kind == "video/mp4" { // AAC in a container that says no more than that
		kind = "audio/mp4"
	}
	if !strings.HasPrefix(kind, "audio/") {
		failure := p.unusable(a, wire.ErrMediaType, providers.Usage{})
		if failure.Kind == providers.MalformedResponse {
			failure.Usage = usage
		}
		return providers.Response{}, failure
	}
	res := p.response(a, model, "", usage)
	res.Raw = nil
	res.Blobs = []providers.Blob{{MIME: kind, Data: a.Body}}
	return res, nil
}

// samples tells that an answer may be bare samples: neither text nor said to be.
func samples(a wire.Answer) bool {
	said, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err == nil && (strings.HasPrefix(said, "text/") || strings.HasSuffix(said, "json")) {
		return false
	}
	return !json.Valid(a.Body) && !bytes.HasPrefix(bytes.TrimSpace(a.Body), []byte("<"))
}

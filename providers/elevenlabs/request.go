package elevenlabs

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"

	"oneflow/providers"
)

// queryFields returns the names that ElevenLabs reads from the address and not from the body.
// Those that a request may hold stand in its Extra.
func queryFields() []string { return []string{"enable_logging", "optimize_streaming_latency"} }

// request is req as ElevenLabs takes it.
func (p *Provider) request(ctx context.Context, key string, req providers.Request) (*http.Request, error) {
	fields := maps.Clone(req.Extra)
	query := url.Values{"output_format": {req.OutputFormat}}
	for _, name := range queryFields() {
		if raw, ok := fields[name]; ok {
			query.Set(name, string(raw))
			delete(fields, name)
		}
	}
	body, err := encode(fields, req)
	if err != nil {
		return nil, err
	}
	address := p.base + "/v1/text-to-speech/" + url.PathEscape(req.Voice) + "?" + query.Encode()
	httpReq, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	httpReq.Header.Set("Xi-Api-Key", key)
	httpReq.Header.Set("Content-Type", "application/json")
	httpReq.Header.Set("Accept", "audio/*")
	return httpReq, nil
}

// voiceSettings are a request's, with its speed, which ElevenLabs has among them.
type voiceSettings struct {
	providers.VoiceSettings

	Speed *float64 `json:"speed,omitempty"`
}

// encode returns the body: the extra fields, and the named ones over them.
func encode(extra map[string]json.RawMessage, req providers.Request) ([]byte, error) {
	all := map[string]any{}
	for name, raw := range extra {
		all[name] = raw
	}
	all["text"], all["model_id"] = req.Prompt, req.Model
	if req.Seed != nil {
		all["seed"] = *req.Seed
	}
	if req.VoiceSettings != nil || req.Speed != nil {
		settings := voiceSettings{Speed: req.Speed}
		if req.VoiceSettings != nil {
			settings.VoiceSettings = *req.VoiceSettings
		}
		all["voice_settings"] = settings
	}
	return json.Marshal(all)
}

// format is an output format in ElevenLabs' words. A codec alone, as other
// providers write it, gets the rates that are good and in every plan.
func format(asked string) string {
	switch asked {
	case "", "mp3":
		return "mp3_44100_128"
	case "opus":
		return "opus_48000_96"
	case "wav":
		return "wav_24000"
	case "pcm":
		return "pcm_24000"
	}
	return asked
}

package openai

import (
	"context"
	"encoding/json"
	"strings"

	"oneflow/providers"
	"oneflow/providers/wire"
)

// speech holds the sound of an answer, and its words.
type speech struct {
	Data       wire.Text `json:"data"`
	Transcript wire.Text `json:"transcript"`
}

// speech returns what is said in a message; zero: nothing.
func (m message) speech() speech {
	var s speech
	_ = json.Unmarshal(m.Audio, &s) // of another form: nothing
	return s
}

// blob is the sound. Bare samples carry no mark.
func (s speech) blob() (providers.Blob, error) {
	data, err := wire.Base64(string(s.Data))
	if err != nil {
		return providers.Blob{}, wire.ErrMediaType
	}
	kind := providers.MediaType(data)
	switch {
	case kind == "":
		kind = "audio/pcm"
	case !strings.HasPrefix(kind, "audio/"):
		return providers.Blob{}, wire.ErrMediaType
	}
	return providers.Blob{MIME: kind, Data: data}, nil
}

// drawn returns the pictures of a message: as OpenRouter has them, in a list beside the text, or
// among the parts of the content.
func (m message) drawn() []picture {
	type part struct {
		Type     wire.Text       `json:"type"`
		ImageURL json.RawMessage `json:"image_url"`
	}
	var all []picture
	for _, list := range []json.RawMessage{m.Images, m.Content} {
		var parts []json.RawMessage
		if json.Unmarshal(list, &parts) != nil {
			continue
		}
		for _, raw := range parts {
			var one part
			var image struct {
				URL wire.Text `json:"url"`
			}
			if json.Unmarshal(raw, &one) != nil || one.Type != "image_url" {
				continue
			}
			if json.Unmarshal(one.ImageURL, &image) != nil {
				_ = json.Unmarshal(one.ImageURL, &image.URL) // the address alone
			}
			if image.URL != "" {
				all = append(all, picture{URL: image.URL})
			}
		}
	}
	return all
}

// media reports whether a message holds speech or pictures.
func (m message) media() bool { return m.speech().Data != "" || len(m.drawn()) > 0 }

// pictures adds pictures to an answer. All of them must be usable.
func (p *Provider) pictures(ctx context.Context, res *providers.Response, drawn []picture) error {
	for _, one := range drawn {
		blob, err := p.picture(ctx, one)
		if err != nil { // made, though we cannot have it
			return err
		}
		res.Blobs = append(res.Blobs, blob)
	}
	return nil
}

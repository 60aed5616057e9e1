package openai

import (
	"strings"

	"oneflow/providers"
)

// What pictures, documents and sound count, at most:
// https://platform.openai.com/docs/guides/images-vision#calculating-costs and
// https://platform.openai.com/docs/guides/pdf-files.
const (
	// gpt-4o-mini counts 2,833 tokens and 5,667 for each of at most 8 tiles.
	miniTokens, miniLow = 2833 + 8*5667, 2833
	// tileTokens are 85 and 170 for each of at most 8 tiles, of the models before.
	tileTokens = 85 + 8*170
	// patchPixels is the side of a patch; the newest models count at most maxPatches,
	// small ones 2.46 tokens for each.
	patchPixels, maxPatches, perHundredPatches = 32, 10_000, 246
	// lowTokens is a picture in low detail.
	lowTokens = 1024
	// pageTokens are a page's text and its picture.
	pageTokens = 8000
	// soundTokens are a second of sound: one each 100 ms.
	soundTokens = 10
)

// mediaTokens is the most that OpenAI's models count for a medium.
func mediaTokens(model string, p providers.Part) int64 {
	switch p.Type {
	case providers.ImagePart:
		return pictureTokens(model, p)
	case providers.DocumentPart:
		if pages := providers.PDFPages(p.Data); pages > 0 {
			return min(providers.MaxMediaTokens, int64(pages)*pageTokens)
		}
	case providers.AudioPart:
		return providers.SoundSeconds(p.Data) * soundTokens
	case providers.TextPart:
	}
	return providers.MaxMediaTokens
}

func pictureTokens(model string, p providers.Part) int64 {
	mini := strings.Contains(model, "4o-mini")
	switch {
	case mini && p.Detail == "low":
		return miniLow
	case mini:
		return miniTokens
	case p.Detail == "low":
		return lowTokens
	}
	patches := int64(maxPatches)
	if w, h, ok := providers.PictureSize(p.Data); ok {
		patches = min(patches, int64((w+patchPixels-1)/patchPixels)*int64((h+patchPixels-1)/patchPixels))
	}
	return max(tileTokens, (patches*perHundredPatches+99)/100)
}

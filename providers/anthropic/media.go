package anthropic

import (
	"strings"

	"oneflow/providers"
)

// What pictures and documents count, at most:
// https://platform.claude.com/docs/en/build-with-claude/vision#evaluate-image-size and
// https://platform.claude.com/docs/en/build-with-claude/pdf-support#estimate-your-costs.
const (
	// pixelsPerToken: a picture counts its width times its height over 750, after it
	// was made small enough to count at most maxPicture.
	pixelsPerToken, maxPicture = 750, 4784
	// framePicture is for what stands around a picture.
	framePicture = 64
	// pageText is the text of a page; its picture counts beside it.
	pageText = 3000
)

// mediaTokens is the most that Anthropic's models count for a medium.
func mediaTokens(_ string, p providers.Part) int64 {
	switch p.Type {
	case providers.ImagePart:
		tokens := int64(maxPicture)
		if w, h, ok := providers.PictureSize(p.Data); ok {
			tokens = min(tokens, int64(w)*int64(h)/pixelsPerToken+1)
		}
		return tokens + framePicture
	case providers.DocumentPart:
		if strings.HasPrefix(p.MIME, "text/") {
			return int64(len(p.Data)) + framePicture
		}
		if pages := providers.PDFPages(p.Data); pages > 0 {
			return min(providers.MaxMediaTokens, int64(pages)*(pageText+maxPicture+framePicture))
		}
	case providers.AudioPart, providers.TextPart:
	}
	return providers.MaxMediaTokens
}

package gemini

import (
	"strings"

	"oneflow/providers"
)

// What pictures, documents and sound count, at most:
// https://ai.google.dev/gemini-api/docs/tokens and
// https://ai.google.dev/gemini-api/docs/media-resolution.
const (
	// tileTokens are 258 for each tile of a picture; the newest models count at most
	// pictureTokens in place of that.
	tileTokens, pictureTokens = 258, 2240
	// largePicture is a picture whose size is not known.
	largePicture = 1 << 14
	// smallTile and largeTile bound the side of a tile, in pixels.
	smallTile, largeTile = 256, 768
	// pageTokens are a page's picture and its text.
	pageTokens = 5000
	// soundTokens are a second of sound, of which there are 32, and more than that.
	soundTokens = 40
)

// mediaTokens is the most that Google's models count for a medium.
func mediaTokens(_ string, p providers.Part) int64 {
	switch p.Type {
	case providers.ImagePart:
		w, h, ok := providers.PictureSize(p.Data)
		if !ok {
			return largePicture
		}
		side := min(max(min(w, h)*2/3, smallTile), largeTile)
		tiles := ((w + side - 1) / side) * ((h + side - 1) / side)
		return max(pictureTokens, min(int64(tiles)*tileTokens, providers.MaxMediaTokens))
	case providers.DocumentPart:
		if strings.HasPrefix(p.MIME, "text/") && len(p.Data) > 0 {
			return int64(len(p.Data)) + tileTokens
		}
		if pages := providers.PDFPages(p.Data); pages > 0 {
			return min(providers.MaxMediaTokens, int64(pages)*pageTokens)
		}
	case providers.AudioPart:
		if len(p.Data) > 0 {
			return min(providers.MaxMediaTokens, providers.SoundSeconds(p.Data)*soundTokens)
		}
	case providers.TextPart:
	}
	return providers.MaxMediaTokens
}

package providers

import (
	"bytes"
	"strings"
)

// MediaType recognises a picture, sound, film or PDF by its first bytes and returns
// its media type, such as "image/png" or "audio/mpeg". It returns nothing for anything
// else; raw samples (PCM, μ-law, A-law) carry no mark and are not recognised.
func MediaType(data []byte) string {
	has := func(at int, mark string) bool {
		return len(data) >= at+len(mark) && string(data[at:at+len(mark)]) == mark
	}
	switch {
	case has(0, "\x89PNG\r\n\x1a\n"):
		return "image/png"
	case has(0, "\xff\xd8\xff"):
		return "image/jpeg"
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return "image/gif"
	case has(0, "RIFF") && has(8, "WEBP"):
		return "image/webp"
	case has(0, "RIFF") && has(8, "WAVE"):
		return "audio/wav"
	case has(0, "OggS"):
		return "audio/ogg"
	case has(0, "fLaC"):
		return "audio/flac"
	case has(4, "ftyp"):
		return isoMediaType(data)
	case has(0, "\x1aE\xdf\xa3"):
		return "video/webm"
	case has(0, "%PDF-"):
		return "application/pdf"
	case has(0, "ID3"):
		return "audio/mpeg"
	case isADTS(data):
		return "audio/aac"
	case isMPEGAudio(data):
		return "audio/mpeg"
	}
	return ""
}

// StandardType returns the name that vendors know a media type by, where it is written otherwise,
// such as image/jpg. Parameters are left out, but for those of a text.
func StandardType(mime string) string {
	mime = strings.ToLower(strings.TrimSpace(mime))
	if !strings.HasPrefix(mime, "text/") {
		mime, _, _ = strings.Cut(mime, ";")
	}
	switch mime = strings.TrimSpace(mime); mime {
	case "image/jpg", "image/pjpeg":
		return "image/jpeg"
	case "audio/vnd.wave":
		return "audio/wav"
	case "application/x-pdf":
		return "application/pdf"
	}
	return mime
}

// IsMedia reports whether data is of a kind: "image", "audio" or "video".
func IsMedia(kind string, data []byte) bool {
	return strings.HasPrefix(MediaType(data), kind+"/")
}

// isoMediaType tells apart what an ISO base media file holds, by its major brand.
func isoMediaType(data []byte) string {
	if len(data) < 12 {
		return ""
	}
	switch brand := string(data[8:12]); brand {
	case "avif", "avis":
		return "image/avif"
	case "heic", "heix", "mif1":
		return "image/heic"
	case "M4A ", "M4B ":
		return "audio/mp4"
	case "qt  ":
		return "video/quicktime"
	}
	return "video/mp4"
}

// isADTS reports whether data starts with the header of an AAC frame: 12 bits of sync,
// layer 0, and a sampling rate that exists.
func isADTS(data []byte) bool {
	return len(data) >= 7 && data[0] == 0xff && data[1]&0xf6 == 0xf0 && data[2]>>2&0x0f < 13
}

// isMPEGAudio reports whether data starts with the header of an MP3 frame: 11 bits of
// sync, and a version, layer, bit rate and sampling rate that exist.
func isMPEGAudio(data []byte) bool {
	if len(data) < 4 || data[0] != 0xff || data[1]&0xe0 != 0xe0 {
		return false
	}
	version, layer := data[1]>>3&3, data[1]>>1&3
	bitRate, samplingRate := data[2]>>4, data[2]>>2&3
	return version != 1 && layer != 0 && bitRate != 0 && bitRate != 15 && samplingRate != 3 &&
		!bytes.HasPrefix(data, []byte{0xff, 0xfe}) // a byte-order mark
}

package providers

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"image"
	_ "image/gif"  // for PictureSize
	_ "image/jpeg" // for PictureSize
	_ "image/png"  // for PictureSize
	"io"
	"iter"
	"strconv"
)

// PictureSize is the width and height of a PNG, JPEG, GIF or WebP in pixels, as its
// head says.
func PictureSize(data []byte) (width, height int, ok bool) {
	if w, h, ok := webpSize(data); ok {
		return w, h, true
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(data))
	return config.Width, config.Height, err == nil && config.Width > 0 && config.Height > 0
}

// webpSize reads the head of a WebP: https://developers.google.com/speed/webp/docs/riff_container.
func webpSize(data []byte) (width, height int, ok bool) {
	if len(data) < 30 || MediaType(data) != "image/webp" {
		return 0, 0, false
	}
	switch b := data[20:]; string(data[12:16]) {
	case "VP8 ": // 14 bits each, after the frame's tag and start code
		width, height = int(binary.LittleEndian.Uint16(b[6:])&0x3fff), int(binary.LittleEndian.Uint16(b[8:])&0x3fff)
	case "VP8L": // 14 bits each, less one, after a byte
		bits := binary.LittleEndian.Uint32(b[1:])
		width, height = int(bits&0x3fff)+1, int(bits>>14&0x3fff)+1
	case "VP8X": // 24 bits each, less one, after flags
		width, height = int(b[4])|int(b[5])<<8|int(b[6])<<16+1, int(b[7])|int(b[8])<<8|int(b[9])<<16+1
	}
	return width, height, width > 0 && height > 0
}

// maxInflated bounds what is read of a PDF's compressed objects to count its pages.
const maxInflated = 32 << 20

// PDFPages counts the pages of a PDF, rather too many; 0: they cannot be counted.
func PDFPages(data []byte) int {
	pages := countPages(data)
	left := int64(maxInflated)
	for rest := data; ; {
		i := bytes.Index(rest, []byte("/ObjStm"))
		if i < 0 {
			return pages
		}
		rest = rest[i:]
		start := bytes.Index(rest, []byte("stream"))
		if start < 0 {
			return 0
		}
		rest = bytes.TrimLeft(rest[start+len("stream"):], "\r\n")
		stream, err := zlib.NewReader(bytes.NewReader(rest))
		if err != nil {
			return 0 // encrypted, or in another coding
		}
		objects, err := io.ReadAll(io.LimitReader(stream, left))
		if left -= int64(len(objects)); err != nil || left <= 0 {
			return 0
		}
		pages += countPages(objects)
	}
}

// countPages is the larger of the page objects that stand there and of what trees of
// pages say.
func countPages(data []byte) int {
	objects, said := 0, 0
	for value := range after(data, "/Type") {
		if bytes.HasPrefix(value, []byte("/Page")) && !bytes.HasPrefix(value, []byte("/Pages")) {
			objects++
		}
	}
	for value := range after(data, "/Count") {
		digits := 0
		for digits < min(len(value), 7) && '0' <= value[digits] && value[digits] <= '9' {
			digits++
		}
		if n, err := strconv.Atoi(string(value[:digits])); err == nil {
			said = max(said, n)
		}
	}
	return max(objects, said)
}

// after yields what follows each place where a key stands.
func after(data []byte, key string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for {
			i := bytes.Index(data, []byte(key))
			if i < 0 {
				return
			}
			data = data[i+len(key):]
			if !yield(bytes.TrimLeft(data[:min(len(data), 32)], " \t\r\n")) {
				return
			}
		}
	}
}

const (
	// slowestSound is the fewest bytes a second of a compressed sound: 8 kbit/s.
	slowestSound = 1000
	// slowestSamples is that of bare samples: 8 kHz of 8 bits.
	slowestSamples = 8000
)

// SoundSeconds returns an upper bound of the length of a sound, in seconds.
func SoundSeconds(data []byte) int64 {
	rate := int64(slowestSound)
	if len(data) >= 44 && MediaType(data) == "audio/wav" {
		rate = max(slowestSamples, int64(binary.LittleEndian.Uint32(data[28:])))
	}
	return int64(len(data))/rate + 1
}

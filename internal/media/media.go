// Package media makes small, valid content out of a number: text, pictures (PNG,
// JPEG), sound (WAV, MP3) and film (MP4). The same number gives the same bytes.
// The mock provider and the fake provider server answer with them; nothing else
// needs them. It may import the standard library only.
package media

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
)

// MaxSide is the largest width or height of a picture or film, in pixels.
const MaxSide = 2048

// picture returns a paletted picture of w by h pixels: blocks in four colours
// that depend on seed. Its sides must be from 1 to MaxSide.
func picture(seed uint64, w, h int) (*image.Paletted, error) {
	if w < 1 || h < 1 || w > MaxSide || h > MaxSide {
		return nil, fmt.Errorf("picture of %dx%d: each side must be from 1 to %d", w, h, MaxSide)
	}
	palette := make(color.Palette, 4)
	for i := range palette {
		c := mix(seed + uint64(i))
		palette[i] = color.RGBA{R: byte(c & 255), G: byte(c >> 8 & 255), B: byte(c >> 16 & 255), A: 255}
	}
	img := image.NewPaletted(image.Rect(0, 0, w, h), palette)
	const blocks = 8
	cells := [blocks * blocks]byte{}
	for i := range cells {
		cells[i] = byte(mix(seed^uint64(i+1)<<32) & 3)
	}
	for y := range h {
		row := img.Pix[y*img.Stride : y*img.Stride+w]
		for x := range row {
			row[x] = cells[y*blocks/h*blocks+x*blocks/w]
		}
	}
	return img, nil
}

// PNG returns picture as a PNG file.
func PNG(seed uint64, w, h int) ([]byte, error) {
	img, err := picture(seed, w, h)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&buf, img); err != nil {
		return nil, fmt.Errorf("encode PNG: %w", err)
	}
	return buf.Bytes(), nil
}

// JPEG returns picture as a JPEG file.
func JPEG(seed uint64, w, h int) ([]byte, error) {
	img, err := picture(seed, w, h)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		return nil, fmt.Errorf("encode JPEG: %w", err)
	}
	return buf.Bytes(), nil
}

// mix spreads the bits of x (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

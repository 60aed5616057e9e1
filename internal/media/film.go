package media

import (
	"encoding/binary"
	"fmt"
	"time"
)

// maxFilm is the longest film; longer ones are cut to it, down to whole seconds.
const maxFilm = 20 * time.Second

// MP4 returns a film of w by h pixels and length d (at least one second): one
// H.264 track of two frames a second, each of horizontal stripes that change with
// seed and time. The sides must be even and from 2 to MaxSide. There is no sound.
func MP4(seed uint64, w, h int, d time.Duration) ([]byte, error) {
	if w < 2 || h < 2 || w > MaxSide || h > MaxSide || w%2 != 0 || h%2 != 0 {
		return nil, fmt.Errorf("film of %dx%d: each side must be even and from 2 to %d", w, h, MaxSide)
	}
	const timescale, perFrame = 1000, 500
	n := 2 * int(min(max(d, time.Second), maxFilm)/time.Second)
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = lengthPrefixed(h264Frame(mix(seed+uint64(i)), w, h, i))
	}

	ftyp := box("ftyp", []byte("isom"), be32(512), []byte("isomiso2avc1mp41"))
	// The offset of the data is known once the length of moov is, which does
	// not depend on it.
	moov := filmHeader(w, h, timescale, perFrame, frames, 0)
	moov = filmHeader(w, h, timescale, perFrame, frames, len(ftyp)+len(moov)+8)
	return cat(ftyp, moov, box("mdat", frames...)), nil
}

// filmHeader returns the moov box; offset is where the first frame begins.
func filmHeader(w, h, timescale, perFrame int, frames [][]byte, offset int) []byte {
	duration := be32(perFrame * len(frames))
	matrix := cat(be32(0x10000), zeros(12), be32(0x10000), zeros(12), be32(0x40000000))
	sizes := zeros(0)
	for _, f := range frames {
		sizes = append(sizes, be32(len(f))...)
	}
	sps, pps := h264Parameters(w, h)
	avcC := box("avcC", []byte{1, sps[1], sps[2], sps[3], 0xff, 0xe1}, be16(len(sps)), sps, []byte{1}, be16(len(pps)), pps)
	entry := box("avc1",
		zeros(6), be16(1), // data reference
		zeros(16), be16(w), be16(h), be32(72<<16), be32(72<<16), // 72 dpi
		zeros(4), be16(1), zeros(32), be16(24), be16(0xffff), // one frame a sample, no name, depth
		avcC)
	table := box("stbl",
		box("stsd", zeros(4), be32(1), entry),
		box("stts", zeros(4), be32(1), be32(len(frames)), be32(perFrame)),
		box("stsc", zeros(4), be32(1), be32(1), be32(len(frames)), be32(1)),
		box("stsz", zeros(8), be32(len(frames)), sizes),
		box("stco", zeros(4), be32(1), be32(offset)))
	media := box("mdia",
		box("mdhd", zeros(12), be32(timescale), duration, be16(0x55c4), zeros(2)), // language: undetermined
		box("hdlr", zeros(8), []byte("vide"), zeros(12), []byte("video\x00")),
		box("minf",
			box("vmhd", be32(1), zeros(8)),
			box("dinf", box("dref", zeros(4), be32(1), box("url ", be32(1)))),
			table))
	return box("moov",
		box("mvhd", zeros(12), be32(timescale), duration, be32(0x10000), be16(0x100), zeros(10), matrix, zeros(24), be32(2)),
		box("trak",
			box("tkhd", be32(3), zeros(8), be32(1), zeros(4), duration, zeros(16), matrix, be32(w<<16), be32(h<<16)),
			media))
}

// box returns one ISO box: length, four letters, content.
func box(kind string, parts ...[]byte) []byte {
	content := cat(parts...)
	return cat(be32(8+len(content)), []byte(kind), content)
}

func lengthPrefixed(b []byte) []byte { return cat(be32(len(b)), b) }

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func zeros(n int) []byte { return make([]byte, n) }

func be16(v int) []byte {
	return binary.BigEndian.AppendUint16(nil, uint16(v)) //nolint:gosec // sides and small constants
}

func be32(v int) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(v)) //nolint:gosec // MaxSide and maxFilm keep it small
}

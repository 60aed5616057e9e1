package media

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"
)

// maxSound is the longest sound; longer ones are cut to it.
const maxSound = 30 * time.Second

// PCM returns a quiet tone of length d, signed 16-bit little-endian mono samples
// at rate Hz. Its pitch, 220 to 880 Hz, depends on seed.
func PCM(seed uint64, rate int, d time.Duration) []byte {
	d = min(max(d, 0), maxSound)
	n := int(d * time.Duration(rate) / time.Second)
	step := 2 * math.Pi * float64(220+mix(seed)%661) / float64(rate)
	out := make([]byte, 0, 2*n)
	for i := range n {
		sample := int16(6000 * math.Sin(step*float64(i)))
		out = binary.LittleEndian.AppendUint16(out, uint16(sample)) //nolint:gosec // two's complement is meant
	}
	return out
}

// WAV returns PCM as a RIFF file.
func WAV(seed uint64, rate int, d time.Duration) []byte {
	data := PCM(seed, rate, d)
	var buf bytes.Buffer
	u16 := func(v int) { buf.Write(binary.LittleEndian.AppendUint16(nil, uint16(v))) } //nolint:gosec // small constants
	u32 := func(v int) { buf.Write(binary.LittleEndian.AppendUint32(nil, uint32(v))) } //nolint:gosec // maxSound keeps it small
	buf.WriteString("RIFF")
	u32(36 + len(data))
	buf.WriteString("WAVEfmt ")
	u32(16) // length of the format chunk
	u16(1)  // PCM
	u16(1)  // mono
	u32(rate)
	u32(2 * rate) // bytes per second
	u16(2)        // bytes per sample
	u16(16)       // bits per sample
	buf.WriteString("data")
	u32(len(data))
	buf.Write(data)
	return buf.Bytes()
}

// MP3 returns silence of length d (at least one frame of 26 ms): MPEG-1 layer III
// frames, 44.1 kHz mono at 32 kbit/s. Silence needs no encoder: its side
// information and its data are all zeros.
func MP3(d time.Duration) []byte {
	const samples, rate, size = 1152, 44100, 104
	frame := make([]byte, size)
	copy(frame, []byte{0xff, 0xfb, 0x10, 0xc0}) // sync, layer III, 32 kbit/s, 44.1 kHz, mono
	n := int(min(max(d, 0), maxSound) * rate / (samples * time.Second))
	return bytes.Repeat(frame, max(n, 1))
}

package media_test

import (
	"bytes"
	"encoding/binary"
	"image/jpeg"
	"image/png"
	"os"
	"testing"
	"time"

	"oneflow/internal/media"
)

func TestPicturesDecodeToTheirSizeAndRepeat(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{1, 1}, {3, 7}, {64, 64}, {1024, 1024}} {
		data, err := media.PNG(1, size[0], size[1])
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(data))
		if err != nil || img.Bounds().Dx() != size[0] || img.Bounds().Dy() != size[1] {
			t.Errorf("PNG %v: %v, %v", size, img.Bounds(), err)
		}
		again, err := media.PNG(1, size[0], size[1])
		if err != nil || !bytes.Equal(data, again) {
			t.Errorf("PNG %v: the same seed gave other bytes", size)
		}
		if jpg, err := media.JPEG(1, size[0], size[1]); err != nil {
			t.Error(err)
		} else if _, err := jpeg.Decode(bytes.NewReader(jpg)); err != nil {
			t.Errorf("JPEG %v: %v", size, err)
		}
	}
	a, errA := media.PNG(1, 64, 64)
	b, errB := media.PNG(2, 64, 64)
	if errA != nil || errB != nil || bytes.Equal(a, b) {
		t.Error("two seeds gave the same picture")
	}
	if _, err := media.PNG(1, 0, 64); err == nil {
		t.Error("a picture without width was made")
	}
}

func TestWAVHeaderFitsItsSamples(t *testing.T) {
	t.Parallel()
	data := media.WAV(5, 8000, 1500*time.Millisecond)
	if string(data[:4]) != "RIFF" || string(data[8:16]) != "WAVEfmt " || string(data[36:40]) != "data" {
		t.Fatalf("not a WAV file: % x", data[:44])
	}
	if got := binary.LittleEndian.Uint32(data[4:]); int(got) != len(data)-8 {
		t.Errorf("RIFF length %d of a file of %d", got, len(data))
	}
	if got := binary.LittleEndian.Uint32(data[40:]); got != 2*12000 || int(got) != len(data)-44 {
		t.Errorf("data length %d, want 24000", got)
	}
}

func TestMP3IsWholeFrames(t *testing.T) {
	t.Parallel()
	data := media.MP3(time.Second)
	if len(data) != 38*104 {
		t.Fatalf("one second is %d bytes", len(data))
	}
	for i := 0; i < len(data); i += 104 {
		if data[i] != 0xff || data[i+1] != 0xfb {
			t.Fatalf("no frame at %d", i)
		}
	}
}

func TestMP4HasTheBoxesAndFramesThatItDeclares(t *testing.T) {
	t.Parallel()
	data, err := media.MP4(7, 100, 50, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	boxes := walk(t, data, "", map[string][]byte{})
	for _, name := range []string{"/ftyp", "/moov/mvhd", "/moov/trak/tkhd", "/moov/trak/mdia/minf/stbl/stsz", "/mdat"} {
		if boxes[name] == nil {
			t.Errorf("no box %s", name)
		}
	}
	stbl := "/moov/trak/mdia/minf/stbl/"
	sizes, offset := boxes[stbl+"stsz"][8:], binary.BigEndian.Uint32(boxes[stbl+"stco"][8:])
	n := binary.BigEndian.Uint32(sizes)
	if n != 6 {
		t.Errorf("%d frames in 3 s", n)
	}
	at := offset
	for i := range n {
		size := binary.BigEndian.Uint32(sizes[4+4*i:])
		if got := binary.BigEndian.Uint32(data[at:]); got != size-4 || data[at+4] != 0x65 {
			t.Errorf("frame %d: %d bytes in a sample of %d, NAL %#x", i, got, size, data[at+4])
		}
		at += size
	}
	if int(at) != len(data) {
		t.Errorf("frames end at %d of %d", at, len(data))
	}
	if _, err := media.MP4(7, 101, 50, time.Second); err == nil {
		t.Error("a film of odd width was made")
	}
	if path := os.Getenv("MEDIA_TEST_FILM"); path != "" {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// walk collects the boxes of an MP4 file by their path.
func walk(t *testing.T, data []byte, path string, into map[string][]byte) map[string][]byte {
	t.Helper()
	for len(data) > 0 {
		size := binary.BigEndian.Uint32(data)
		if size < 8 || int(size) > len(data) {
			t.Fatalf("%s: box of %d bytes in %d", path, size, len(data))
		}
		name := path + "/" + string(data[4:8])
		into[name] = data[8:size]
		switch string(data[4:8]) {
		case "moov", "trak", "mdia", "minf", "stbl":
			walk(t, data[8:size], name, into)
		}
		data = data[size:]
	}
	return into
}

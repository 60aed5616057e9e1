package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestARealSynthesiserIsHeard sends a job through the commands to a compatible
// server that really speaks, and listens to what ends up in storage.
func TestARealSynthesiserIsHeard(t *testing.T) {
	t.Parallel()
	espeak, err := exec.LookPath("espeak-ng")
	if err != nil {
		t.Skip("SKIPPED: no real speech is made: espeak-ng is not installed (apt-get install espeak-ng)")
	}
	server := httptest.NewServer(synthesiser(t, espeak))
	t.Cleanup(server.Close)
	sut := newSystem(t, "concurrency: 1, latency: 1ms")
	storage := filepath.Join(sut.Dir, "artifacts")
	sut.configure(fmt.Sprintf("artifacts: %s\nproviders:\n  speaker: {kind: openai, compatible: true, base_url: %s/v1, concurrency: 2, models: {audio: espeak}}\n", storage, server.URL))
	sut.workerOf("speaker")
	sut.run(0, "enqueue", "audio", "The quick brown fox jumps over the lazy dog.", "--provider", "speaker",
		"--set", "output_format=wav", "--set", "voice=en", "--wait")
	if n := sut.number(`SELECT count(*) FROM calls`); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}

	var sounds [][]byte
	err = filepath.WalkDir(storage, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.HasPrefix(data, []byte("RIFF")) {
			sounds = append(sounds, data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sounds) != 1 {
		t.Fatalf("%d sounds in storage, want 1", len(sounds))
	}
	length, samples, err := readWAV(sounds[0])
	if err != nil {
		t.Fatal(err)
	}
	if length < 300*time.Millisecond || length > time.Minute {
		t.Errorf("the sentence takes %s", length)
	}
	loud := 0
	for _, s := range samples {
		if s > 1000 || s < -1000 {
			loud++
		}
	}
	if loud < len(samples)/10 {
		t.Errorf("%d of %d samples are loud: this is silence", loud, len(samples))
	}
}

// synthesiser speaks OpenAI's protocol, with espeak-ng.
func synthesiser(t *testing.T, espeak string) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/audio/speech", func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			Model          string `json:"model"`
			Input          string `json:"input"`
			Voice          string `json:"voice"`
			ResponseFormat string `json:"response_format"`
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.Input == "" || req.Model != "espeak" || req.ResponseFormat != "wav" {
			t.Errorf("request for speech: %+v %v", req, err)
			http.Error(w, `{"error":"bad request"}`, http.StatusBadRequest)
			return
		}
		cmd := exec.CommandContext(r.Context(), espeak, "-v", req.Voice, "--stdin", "--stdout")
		cmd.Stdin = bytes.NewBufferString(req.Input)
		sound, err := cmd.Output()
		if err != nil {
			t.Errorf("espeak-ng: %v", err)
			http.Error(w, `{"error":"broken"}`, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "audio/wav")
		_, _ = w.Write(sound)
	})
	return mux
}

// readWAV returns the length and the samples of a WAV file of 16 bits. espeak-ng
// does not know the length when it begins to write, so what a chunk says of it
// counts only where the file has as much.
func readWAV(file []byte) (time.Duration, []int16, error) {
	if len(file) < 12 || string(file[:4]) != "RIFF" || string(file[8:12]) != "WAVE" {
		return 0, nil, errors.New("not a WAV file")
	}
	var channels, rate int
	for rest := file[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), uint64(binary.LittleEndian.Uint32(rest[4:8]))
		rest = rest[8:]
		body := rest[:min(uint64(len(rest)), size)]
		switch {
		case name == "fmt " && len(body) >= 16:
			if format, bits := binary.LittleEndian.Uint16(body), binary.LittleEndian.Uint16(body[14:]); format != 1 || bits != 16 {
				return 0, nil, fmt.Errorf("format %d with %d bits, want PCM with 16", format, bits)
			}
			channels, rate = int(binary.LittleEndian.Uint16(body[2:])), int(binary.LittleEndian.Uint32(body[4:]))
		case name == "data" && channels > 0 && rate > 0:
			samples := make([]int16, len(body)/2)
			if _, err := binary.Decode(body[:2*len(samples)], binary.LittleEndian, samples); err != nil {
				return 0, nil, err
			}
			return time.Duration(len(samples)/channels) * time.Second / time.Duration(rate), samples, nil
		}
		rest = rest[min(uint64(len(rest)), size+size%2):]
	}
	return 0, nil, errors.New("a WAV file without samples")
}

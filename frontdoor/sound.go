package frontdoor

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"oneflow/jobs"
	"oneflow/providers"
)

// maxSoundUp bounds a sound that is brought: as base64, a row holds no more.
const maxSoundUp = 12 << 20

// plainText asks for the text alone; the vendor's other forms of text have times, which
// nothing here makes.
const plainText = "text"

// readSound reads the form of a transcription.
func readSound(r *http.Request, e endpoint) (ask asking, err error) {
	form, err := r.MultipartReader()
	if err != nil {
		return ask, &refusal{status: http.StatusBadRequest, reason: "the body must be multipart/form-data, with file and model"}
	}
	fields := map[string][]string{}
	var sound []byte
	name, kind := "", ""
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return ask, asRefusal(cutOff(err))
		}
		if part.FormName() != "file" {
			if err := addField(part, fields); err != nil {
				return ask, asRefusal(err)
			}
			continue
		}
		if sound != nil {
			return ask, &refusal{status: http.StatusBadRequest, reason: "file: is there twice"}
		}
		name, kind = part.FileName(), part.Header.Get("Content-Type")
		if sound, err = io.ReadAll(io.LimitReader(part, maxSoundUp+1)); err != nil {
			return ask, asRefusal(cutOff(err))
		}
	}
	switch {
	case len(sound) == 0:
		return ask, &refusal{status: http.StatusBadRequest, reason: "file: is missing, or empty"}
	case len(sound) > maxSoundUp:
		return ask, &refusal{status: http.StatusRequestEntityTooLarge, reason: fmt.Sprintf("file: is larger than %d MiB: split it", maxSoundUp>>20)}
	}
	ask = asking{endpoint: e, lane: jobs.High, timeout: defaultTimeout, again: isRetry(r), keep: r.Header.Get("X-Oneflow-Keep") != ""}
	if ask.row, err = soundRow(fields, sound, soundType(sound, name, kind)); err != nil {
		return ask, &refusal{status: http.StatusBadRequest, reason: err.Error()}
	}
	ask.plain = slices.Equal(fields["response_format"], []string{plainText})
	// Clients draw the form's boundary anew for each try: what it says is the same.
	ask.sum = sha256.Sum256(append([]byte(e.path+"\n"+strconv.FormatBool(ask.plain)), encoded(ask.row)...))
	return ask, ask.headers(r)
}

// asRefusal is the error of a form as that of a call.
func asRefusal(err error) error {
	if bad, ok := errors.AsType[*formError](err); ok {
		return &refusal{status: bad.status, reason: bad.reason}
	}
	return err
}

func addField(part io.Reader, fields map[string][]string) error {
	const longest, most = 10_000, 50
	named, _ := part.(interface{ FormName() string })
	value, err := io.ReadAll(io.LimitReader(part, longest+1))
	if err != nil {
		return cutOff(err)
	}
	if len(value) > longest || len(fields) >= most || !storable(string(value)) {
		return &formError{http.StatusBadRequest, "", "the form has a field that is too long or no text, or too many"}
	}
	fields[named.FormName()] = append(fields[named.FormName()], string(value))
	return nil
}

// soundType is the media type of a sound: by its bytes, else by its name, else as the
// form says.
func soundType(sound []byte, name, kind string) string {
	if found := providers.MediaType(sound); strings.HasPrefix(found, "audio/") || strings.HasPrefix(found, "video/") {
		return found
	}
	for ending, of := range map[string]string{".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".m4a": "audio/mp4", ".mp4": "video/mp4", ".webm": "audio/webm"} {
		if strings.EqualFold(path.Ext(name), ending) {
			return of
		}
	}
	found, _, _ := mime.ParseMediaType(kind) // "" is found to be no sound
	return found
}

// soundRow is a transcription as a row has it. What has no name of ours goes to the vendor
// as it is.
func soundRow(fields map[string][]string, sound []byte, kind string) (map[string]json.RawMessage, error) {
	row := map[string]json.RawMessage{
		"task":     encoded(providers.Transcription),
		"messages": encoded([]object{{"role": "user", "content": []object{{"type": "audio", "mime": kind, "data": sound}}}}),
	}
	extra := map[string]json.RawMessage{}
	for name, values := range fields {
		switch list, isList := strings.CutSuffix(name, "[]"); {
		case isList:
			extra[list] = encoded(values)
		case len(values) > 1:
			return nil, fmt.Errorf("%.40q: is there twice", name)
		case name == "model", name == "prompt", name == "language":
			row[name] = encoded(values[0])
		case name == "temperature":
			t, err := strconv.ParseFloat(values[0], 64)
			if err != nil || t < 0 || t > 1 {
				return nil, errors.New("temperature: must be from 0 to 1")
			}
			row[name] = encoded(t)
		case name == "response_format":
			switch values[0] {
			case "json", plainText:
			case "verbose_json":
				row["output_format"] = encoded(values[0])
			default:
				return nil, fmt.Errorf("response_format: must be json, text or verbose_json, got %.40q", values[0])
			}
		case name == "stream":
			if values[0] == "true" {
				return nil, errors.New("stream: this endpoint answers as a whole")
			}
		default:
			extra[name] = encoded(values[0])
		}
	}
	if len(extra) > 0 {
		row["extra"] = encoded(extra)
	}
	return row, nil
}

// soundJob makes the job of a transcription.
func (f *FrontDoor) soundJob(ask asking) (jobs.New, error) {
	var model string
	_ = json.Unmarshal(ask.row["model"], &model) // it is a text
	if model == "" {
		return jobs.New{}, &refusal{status: http.StatusBadRequest, reason: "model: is missing"}
	}
	provider, name, err := f.cfg.Providers(ask.endpoint.path, model)
	if err != nil {
		return jobs.New{}, &refusal{status: http.StatusNotFound, reason: "model: " + err.Error()}
	}
	row := map[string]json.RawMessage{"provider": encoded(provider), "model": encoded(name), "lane": encoded(ask.lane)}
	for field, value := range ask.row {
		if field != "model" {
			row[field] = value
		}
	}
	in := f.input(ask)
	job, err := in.One(row)
	if err != nil {
		return job, &refusal{status: http.StatusBadRequest, reason: err.Error()}
	}
	return job, nil
}

// writeText answers with what was said in a sound.
func writeText(_ *FrontDoor, w http.ResponseWriter, _ *http.Request, res result) {
	w.Header().Set("X-Oneflow-Provider", headerValue(res.Provider))
	if res.plain {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(append(bytes.TrimRight([]byte(res.Text), "\n"), '\n'))
		return
	}
	if raw := res.raw(); json.Valid(raw) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(raw) //nolint:gosec // JSON is no page, and nosniff says so
		return
	}
	answer(w, http.StatusOK, object{"text": res.Text})
}

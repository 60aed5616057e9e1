package batches

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"oneflow/batches/rows"
	"oneflow/providers"
)

// maxFiles bounds the bytes of all files of one row: as base64 they are as long as the
// longest line that is read.
const maxFiles = 12 << 20

// systemParts moves a system prompt that is a list of parts, as Anthropic has it, into
// the conversation, where parts have their place.
func systemParts(fields Fields) error {
	system := fields["system"]
	if len(system) == 0 || system[0] != '[' {
		return nil
	}
	turns := []json.RawMessage{json.RawMessage(`{"role":"system","content":` + string(system) + `}`)}
	switch {
	case fields.has("messages"):
		raw, ok := unpacked(fields["messages"], '[')
		var rest []json.RawMessage
		if !ok || json.Unmarshal(raw, &rest) != nil {
			return wrongType("messages", "a list", fields["messages"])
		}
		turns = append(turns, rest...)
	case fields.has("prompt"):
		turns = append(turns, json.RawMessage(`{"role":"user","content":`+string(fields["prompt"])+`}`))
		delete(fields, "prompt")
	}
	delete(fields, "system")
	var err error
	fields["messages"], err = json.Marshal(turns)
	return err
}

// fillForm sets what vendors write in different forms: conversations, tools and the
// choice of a tool. known reports whether into is one of these.
func fillForm(path string, into any, raw json.RawMessage) (known bool, err error) {
	var unknown []string
	switch v := into.(type) {
	case *[]providers.Message:
		raw, ok := unpacked(raw, '[')
		if !ok {
			return true, wrongType(path, "a list", raw)
		}
		*v, unknown, err = providers.ReadMessages(raw)
	case *[]providers.Tool:
		raw, ok := unpacked(raw, '[')
		if !ok {
			return true, wrongType(path, "a list", raw)
		}
		*v, unknown, err = providers.ReadTools(raw)
	case *providers.ToolChoice:
		var choice *providers.ToolChoice
		if raw[0] != '"' {
			choice, _, unknown, err = providers.ReadToolChoice(raw)
		} else if inner, ok := unpacked(raw, '{'); ok {
			choice, _, unknown, err = providers.ReadToolChoice(inner)
		} else {
			choice, _, unknown, err = providers.ReadToolChoice(raw)
		}
		if choice != nil {
			*v = *choice
		}
	default:
		return false, nil
	}
	if err == nil && len(unknown) > 0 {
		err = fmt.Errorf("%s: has no meaning here", unknown[0])
	}
	return true, err
}

// readFiles reads the files that parts of a conversation name.
func (in Input) readFiles(messages []providers.Message) error {
	left := int64(maxFiles)
	for i := range messages {
		for j := range messages[i].Parts {
			part := &messages[i].Parts[j]
			if part.File == "" {
				continue
			}
			if err := in.readFile(part, &left); err != nil {
				return fmt.Errorf("messages[%d].content[%d].file: %w", i, j, err)
			}
		}
	}
	return nil
}

// readFile reads the file of one part. left is the number of bytes that the row may still read.
func (in Input) readFile(part *providers.Part, left *int64) error {
	if part.URL != "" || len(part.Data) > 0 {
		return errors.New("stands beside url or data: give only one of them")
	}
	if in.Files == nil {
		return errors.New("no files are read here: give the content as data, in base64")
	}
	name := path.Clean(part.File)
	if !fs.ValidPath(name) || !utf8.ValidString(name) {
		return fmt.Errorf("%s: must be a path below the folder of the input", rows.Quoted(part.File))
	}
	f, err := in.Files.Open(name)
	if err != nil {
		reason := err
		if e, ok := errors.AsType[*fs.PathError](err); ok {
			reason = e.Err
		}
		if at, ok := in.Files.(fmt.Stringer); ok && errors.Is(err, fs.ErrNotExist) {
			reason = fmt.Errorf("%w in the folder %s, where the input's files are looked for", reason, rows.Shorten(at.String()))
		}
		return fmt.Errorf("%s: %w", rows.Quoted(part.File), reason)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("%s: cannot be looked at", rows.Quoted(part.File))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: is no file", rows.Quoted(part.File))
	}
	before := maxFiles - *left
	part.Data, err = io.ReadAll(io.LimitReader(f, *left+1))
	switch *left -= int64(len(part.Data)); {
	case err != nil:
		return fmt.Errorf("%s: cannot be read", rows.Quoted(part.File))
	case *left < 0:
		return fmt.Errorf("%s: the files of a row may hold %d MiB together, and with this one they have %d bytes: make them smaller, or give their url",
			rows.Quoted(part.File), maxFiles>>20, before+max(info.Size(), int64(len(part.Data))))
	case len(part.Data) == 0:
		return fmt.Errorf("%s: is empty", rows.Quoted(part.File))
	}
	if part.MIME == "" {
		part.MIME = fileType(part.Data)
	}
	if kind, _, _ := strings.Cut(part.MIME, "/"); part.Type == providers.ImagePart && kind != "image" ||
		part.Type == providers.AudioPart && kind != "audio" && kind != "video" {
		return fmt.Errorf("%s: holds no %s", rows.Quoted(part.File), part.Type)
	}
	if part.Type == providers.DocumentPart && part.Name == "" {
		part.Name = path.Base(name)
	}
	part.File = ""
	return nil
}

// fileType is the media type of a file by its content; empty: it is not known.
func fileType(data []byte) string {
	found := providers.MediaType(data)
	if found == "" && utf8.Valid(data) {
		return "text/plain"
	}
	return found
}

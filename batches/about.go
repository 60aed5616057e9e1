package batches

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"oneflow/batches/rows"
	"oneflow/providers"
)

// askAbout makes a conversation of a prompt and the file of a row, whose content says whether it is a
// picture, a sound or a document. A transcription has its file without a prompt.
func (in Input) askAbout(fields Fields) error {
	if task := text(fields["task"]); task != "" && task != string(providers.Text) {
		return nil
	}
	switch {
	case fields.has("messages"):
		return errors.New("messages: stand beside a file of the row's own: say what is asked of it as its prompt")
	case !fields.has("prompt"):
		return errors.New("prompt: is missing; it says what is asked of the file")
	}
	kind, err := in.partOf(text(fields["file"]))
	if err != nil {
		return err
	}
	fields["messages"] = encoded([]map[string]any{{"role": "user", "content": []map[string]any{
		{"type": "text", "text": text(fields["prompt"])}, {"type": kind, "file": fields["file"]},
	}}})
	delete(fields, "prompt")
	delete(fields, "file")
	return nil
}

// partOf is the sort of part that a file is, by its first bytes.
func (in Input) partOf(name string) (providers.PartType, error) {
	f, err := in.Files.Open(path.Clean(name))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %s", rows.Printable(err))
	}
	defer func() { _ = f.Close() }()
	head, err := io.ReadAll(io.LimitReader(f, 512))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %s", rows.Printable(err))
	}
	switch kind, _, _ := strings.Cut(providers.MediaType(head), "/"); kind {
	case "image":
		return providers.ImagePart, nil
	case "audio", "video":
		return providers.AudioPart, nil
	}
	return providers.DocumentPart, nil
}

// noPrompt names the columns of a row that has no prompt, and how it is made of them.
func (in *decoder) noPrompt(columns []string) error {
	first := slices.IndexFunc(columns, func(name string) bool { option, own := in.told[name]; return own && !option })
	return fmt.Errorf("prompt: is missing; the row has %s: say which holds it, such as --map prompt=%s, or make it with --template", names(columns), rows.Shorten(columns[max(first, 0)]))
}

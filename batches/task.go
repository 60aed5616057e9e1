package batches

import (
	"encoding/json"
	"errors"
	"fmt"

	"oneflow/providers"
)

// taskField is the field that only rows of a task have: the text to embed, or the file
// of the sound to transcribe. Empty: those of this task have none.
func (in Input) taskField(fields Fields) string {
	task := fields["task"]
	if !fields.has("task") {
		task = in.Defaults["task"]
	}
	if len(task) == 0 {
		return ""
	}
	switch providers.Task(text(task)) {
	case providers.Embedding:
		return "input"
	case providers.Transcription:
		return "file"
	case providers.Text:
		if in.OfFiles {
			return "file"
		}
	case providers.Image, providers.Audio, providers.Video, providers.Moderation:
	}
	return ""
}

// taskFields puts what only rows of a task have into the fields of all rows: a text to
// embed is the prompt, a sound a part of a message.
func taskFields(fields Fields) error {
	switch name := (Input{}).taskField(fields); {
	case name == "" || !fields.has(name):
		return nil
	case name == "input" && fields.has("prompt"):
		return errors.New("input: stands beside prompt, which says the same: give only one of them")
	case name == "input" && fields["input"][0] == '[':
		return errors.New("input: give one text a row: each has a result of its own")
	case name == "input":
		fields["prompt"] = fields["input"]
	case fields.has("messages"):
		return errors.New("file: stands beside messages, which hold the sound: give only one of them")
	case fields["file"][0] != '"':
		return wrongType("file", "a string", fields["file"])
	default:
		turn, err := json.Marshal([]map[string]any{{"role": "user", "content": []map[string]any{{"type": "audio", "file": fields["file"]}}}})
		if err != nil {
			return fmt.Errorf("file: %w", err)
		}
		fields["messages"] = turn
	}
	delete(fields, "input")
	delete(fields, "file")
	return nil
}

package store

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"oneflow/providers"
)

// Sanitise makes a text that Postgres takes: NUL becomes U+2400, the symbol for
// it, and what is not UTF-8 becomes U+FFFD. The raw body is kept beside it.
func Sanitise(text string) string {
	if utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\u2400")
}

// arrayOf writes a list as Postgres writes an array of text: arrays of lists of several
// lengths cannot be parameters.
func arrayOf(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, text := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for _, part := range Sanitise(text) {
			if part == '"' || part == '\\' {
				b.WriteByte('\\')
			}
			b.WriteRune(part)
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

// usageJSON encodes usage so that jsonb takes it.
func usageJSON(u providers.Usage) (string, error) {
	u.Variant = Sanitise(u.Variant)
	data, err := encoded(u)
	if err != nil {
		return "", fmt.Errorf("usage: %w", err)
	}
	return data, nil
}

// encoded is v as JSON; an empty object where it says nothing, as of most calls.
func encoded[T comparable](v T) (string, error) {
	if v == *new(T) {
		return "{}", nil
	}
	data, err := json.Marshal(v)
	return string(data), err
}

// packed is a vector as it is stored: 32 bits a number, the lowest byte first. Nil: there
// is none.
func packed(vector []float32) []byte {
	if vector == nil {
		return nil
	}
	data := make([]byte, 0, 4*len(vector))
	for _, v := range vector {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return data
}

// unpacked is the vector that packed has stored.
func unpacked(data []byte) []float32 {
	if data == nil {
		return nil
	}
	vector := make([]float32, len(data)/4)
	for i := range vector {
		vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return vector
}

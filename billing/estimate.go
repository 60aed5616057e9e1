package billing

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

const (
	// requestTokens and turnTokens are what providers put around a conversation
	// and around each turn of it, in tokens: 3 and 4 with some, 7 for a first turn with
	// others. Some more, as they do not tell exactly; not many more, as each call under
	// way holds them back.
	requestTokens = 8
	turnTokens    = 8
	// tokenizable is the longest text that is worth the time to cut it into
	// tokens: some 10 ms, or a tenth of a second for the worst of texts.
	tokenizable = 100 << 10
	// outputTokens is the longest answer to expect where a request sets no
	// max_tokens, and the client of this kind asks for no cap of its own. What was
	// not used is given back when the answer is there.
	outputTokens = 16_384
	// maxEstimate bounds the output that is expected of one call.
	maxEstimate = 100_000_000
)

// EstimateTokens returns the most tokens that req is to be expected to use of a provider
// of this kind; what it really used is counted when the answer is there. Pictures,
// sound and film count as none: their limits are requests.
//
// The kind's own tokenizer is asked where it has one. Elsewhere a token is taken to be
// 2 characters of a plain word and less of anything else, a good twice of what it is in
// English prose; never more than the bytes of the text.
func EstimateTokens(kind string, req providers.Request) (input, output int64) {
	req = kinds.Named(kind, req)
	d, _ := kinds.Of(kind)
	count := roughly
	if d.Tokenizer == providers.Tiktoken {
		count = exactly(modelOf(kind, req))
	}
	switch req.Task {
	case providers.Embedding:
		in := requestTokens + count(req.Prompt)
		for _, prompt := range req.With {
			in += count(prompt)
		}
		return in, 0
	case providers.Text:
	case providers.Image, providers.Audio, providers.Video, providers.Moderation, providers.Transcription:
		return 0, 0
	}
	in := int64(requestTokens)
	for text := range req.Texts() {
		in += turnTokens + count(text)
	}
	pictures, sound := countMedia(kind, req)
	in += pictures + sound
	for name, value := range req.Extra {
		in += int64(len(name) + len(value))
	}
	return in, largestAnswer(d, req)
}

// largestAnswer returns the number of tokens that the answer to req may have.
func largestAnswer(d providers.Descriptor, req providers.Request) int64 {
	out := req.MaxTokens
	switch {
	case out > 0:
	case d.MaxTokens > 0:
		out = d.MaxTokens
	default:
		out = outputTokens
	}
	return min(out, maxEstimate/128) * int64(min(max(req.N, 1), 128))
}

// exactly counts the tokens of one of OpenAI's models. OpenAI, whose tokenizer it is,
// says that its limit counts characters instead, four a token: the larger of both is
// taken.
func exactly(model string) func(string) int64 {
	encoding := encodingOf(model)
	return func(text string) int64 {
		if len(text) > tokenizable {
			return roughly(text)
		}
		// As it is sent: JSON has U+FFFD for each byte that is not UTF-8.
		tokens, err := encoding.Count(string([]rune(text)))
		if err != nil {
			return roughly(text)
		}
		return max(int64(tokens), int64(len(text)+3)/4)
	}
}

// encodingOf returns how a model cuts texts: of all that are served today, embeddings and
// those before GPT-4o in the older way. Only these two vocabularies are linked: the
// package tokenizer has four, of 20 MB.
func encodingOf(model string) *codec.Codec {
	older := strings.HasPrefix(model, "gpt-3.5") || strings.HasPrefix(model, "gpt-4-") || strings.HasPrefix(model, "text-embedding-") || model == "gpt-4"
	if older {
		return codec.NewCl100kBase()
	}
	return codec.NewO200kBase()
}

// roughly counts tokens without knowing how they are cut, rather too many.
func roughly(text string) int64 {
	tokens := 0.0
	for i := 0; i < len(text); {
		n := word(text[i:])
		switch c := text[i]; {
		case n > 0:
			tokens += wordTokens(text[i : i+n])
			i += n
			continue
		case c == ' ' && word(text[i+1:]) > 0 && !digit(text[i+1]):
			// A space goes with the word that follows.
		default:
			tokens++ // a byte of its own
		}
		i++
	}
	return int64(math.Ceil(tokens))
}

// word returns the length of the run of ASCII letters and digits that text begins with.
func word(text string) int {
	n := 0
	for n < len(text) && (letter(text[n]) || digit(text[n])) {
		n++
	}
	return n
}

// wordTokens bounds the tokens of such a run: figures are cut into up to single
// ones, names and codes of mixed letters in pieces of less than 2, words in longer ones.
func wordTokens(run string) float64 {
	plain := true
	digits := 0
	for i := range len(run) {
		if digit(run[i]) {
			digits++
		}
		if i > 0 && (run[i] < 'a' || run[i] > 'z') {
			plain = false
		}
	}
	each := 0.75
	switch {
	case digits == len(run):
		each = 1
	case plain:
		each = 0.55
	}
	return math.Ceil(each * float64(len(run)))
}

func letter(c byte) bool { return c < utf8.RuneSelf && (c|0x20 >= 'a' && c|0x20 <= 'z') }

func digit(c byte) bool { return c >= '0' && c <= '9' }

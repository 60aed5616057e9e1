package billing

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"oneflow/providers"
	"oneflow/providers/kinds"
)

// What bounds a call where neither the request nor the list's limits do.
const (
	defaultMaxOutputTokens = 16_384
	defaultMaxImageTokens  = 32_768
	defaultMaxMilliSeconds = 60_000
)

// maxBound is the largest limit that a list may name: with the ten pictures
// that a request may ask for it stays far from overflow.
const maxBound = 1_000_000_000

// What a provider adds to the text of a request, in tokens, generously: the
// frame of the conversation and of each message in it, and what it tells the
// model about a schema or about tools.
const (
	frameTokens       = 64
	messageTokens     = 16
	instructionTokens = 1024
)

const (
	// mostSearches is the number of searches of the web that a call is expected to make where
	// its tool does not say.
	mostSearches = 20
	// searchTokens is the number of tokens that a search adds to the input, generously.
	searchTokens = 20_000
	// dearestVoice is the most credits that a character costs: some voices count
	// double.
	dearestVoice = 2
)

// modelOf returns the model that a request is for: the one that it names, or the
// default of this kind of provider. It is empty where there is none.
func modelOf(kind string, req providers.Request) string {
	if req.Model != "" {
		return req.Model
	}
	c, _ := kinds.CapabilitiesOf(kind)
	return c.Tasks[req.Task].DefaultModel
}

// UpperBound returns the most that one call for req can use, for Reserve:
//
//   - text: one input token per UTF-8 byte of all that is sent, which no
//     tokenizer exceeds as each of its tokens stands for at least one byte, with
//     a generous frame, and what the provider counts at most for each picture,
//     document and sound; n answers of up to max_tokens, or the model's longest;
//   - pictures: n of them in the dearest variant that the request allows, or the
//     tokens of that many, as the model is charged;
//   - speech: one character per UTF-16 unit, which is never fewer than the
//     characters however they are counted; twice that where credits are charged, of
//     which some voices count two a character;
//   - film: the seconds asked for, or the model's longest film;
//   - transcriptions: the seconds that the sound can last, or the tokens of so many.
//
// Limits in the list say what a model's longest is, and the Default constants
// where they do not. The terms that a request asks for, the time that it has a
// cache kept for, and the searches of the web that it allows are in it.
func (l *List) UpperBound(kind string, req providers.Request, at time.Time) providers.Usage {
	body := providers.WithoutMedia(req.Body)
	req = kinds.Named(kind, req)
	model := modelOf(kind, req)
	limits := l.limitsOf(kind, model)
	c := l.card(kind, model, at)
	switch req.Task {
	case providers.Text:
		out := req.MaxTokens
		if out <= 0 {
			out = limits.MaxOutputTokens
		}
		most := providers.Usage{InputTokens: max(inputTokens(req), int64(len(body))), Tier: tierOf(req), WebSearches: searches(req)}
		if bringsIn(kind, req) {
			most.InputTokens = max(most.InputTokens, cmp.Or(limits.ContextWindow, providers.MaxMediaTokens))
		}
		most.InputTokens += times(most.WebSearches, searchTokens)
		pictures, sound := countMedia(kind, req)
		c.input(&most, pictures, sound, at)
		c.output(&most, times(int64(max(1, req.N)), out), at)
		if req.CachesFor12h() {
			most.Variant = providers.Cache12h // all that is read may be written, see Reserve
		}
		switch { // the dearest of its rates
		case hourCache(req) && c.has(providers.CacheWrite1hTokens, at):
			most.InputTokens, most.CacheWrite1hTokens = 0, most.InputTokens
		case req.Caches() && c.has(providers.CacheWriteTokens, at):
			most.InputTokens, most.CacheWriteTokens = 0, most.InputTokens
		}
		return most
	case providers.Embedding:
		pictures, sound := countMedia(kind, req)
		most := providers.Usage{InputTokens: max(inputTokens(req), int64(len(body)))}
		c.input(&most, pictures, sound, at)
		return most
	case providers.Transcription:
		return mostTranscribed(c, req, limits, at)
	case providers.Moderation: // nothing that is counted
	case providers.Image:
		n := int64(max(1, req.N))
		if c.has(providers.ImageOutputTokens, at) {
			pictures, _ := countMedia(kind, req)
			most := providers.Usage{InputTokens: inputTokens(req), ImageOutputTokens: times(n, limits.imageTokens(req))}
			c.input(&most, pictures, 0, at)
			return most
		}
		return providers.Usage{Images: n, Variant: c.dearest(providers.Images, req, limits, at)}
	case providers.Audio:
		characters := int64(len(utf16.Encode([]rune(req.Prompt))))
		if c.has(providers.MilliCredits, at) {
			characters *= dearestVoice
		}
		return providers.Usage{Characters: characters}
	case providers.Video:
		ms := times(int64(req.Seconds), 1000)
		if ms <= 0 {
			ms = limits.MaxMilliSeconds
		}
		return providers.Usage{MilliSeconds: ms, Variant: c.dearest(providers.MilliSeconds, req, limits, at)}
	}
	return providers.Usage{}
}

// mostTranscribed is the most that a transcription can use: the length of the sound, or its
// tokens and those of an answer as long as the model's longest, as the model is charged.
func mostTranscribed(c *card, req providers.Request, limits modelLimits, at time.Time) providers.Usage {
	seconds := int64(1)
	for sound := range req.Media() {
		seconds = providers.SoundSeconds(sound.Data)
	}
	if c.has(providers.MilliSeconds, at) {
		return providers.Usage{MilliSeconds: seconds * 1000}
	}
	most := providers.Usage{InputTokens: inputTokens(req), OutputTokens: limits.MaxOutputTokens}
	c.input(&most, 0, seconds*soundTokens, at)
	return most
}

// input adds the tokens of pictures and of sound to what is read, where they are charged
// the most: a cache may make text of a dearer kind of them.
func (c *card) input(most *providers.Usage, pictures, sound int64, at time.Time) {
	switch {
	case pictures > 0 && c.dearer(providers.ImageInputTokens, providers.InputTokens, at):
		most.ImageInputTokens += pictures
	default:
		most.InputTokens += pictures
	}
	switch {
	case sound > 0 && c.dearer(providers.AudioInputTokens, providers.InputTokens, at):
		most.AudioInputTokens += sound
	default:
		most.InputTokens += sound
	}
}

// bringsIn reports whether a request names content that the vendor has.
func bringsIn(kind string, req providers.Request) bool {
	if len(req.Extra) == 0 && len(req.Tools) == 0 {
		return false
	}
	can, _ := kinds.CapabilitiesOf(kind)
	return can.BringsIn(req)
}

// output sets the tokens of an answer, which may be a text, pictures or a sound, where
// they are charged the most.
func (c *card) output(most *providers.Usage, n int64, at time.Time) {
	into, unit := &most.OutputTokens, providers.OutputTokens
	if c.dearer(providers.ImageOutputTokens, unit, at) {
		into, unit = &most.ImageOutputTokens, providers.ImageOutputTokens
	}
	if c.dearer(providers.AudioOutputTokens, unit, at) {
		into = &most.AudioOutputTokens
	}
	*into = n
}

// dearer reports whether the card has a price for a unit that is higher than that of
// another, or the only one.
func (c *card) dearer(unit, than providers.Unit, at time.Time) bool {
	if !c.has(unit, at) {
		return false
	}
	highest := func(unit providers.Unit) *big.Rat {
		most := new(big.Rat)
		for _, r := range c.rows {
			if r.Unit == unit && r.inForce(at) && r.perUnit.Cmp(most) > 0 {
				most = r.perUnit
			}
		}
		return most
	}
	return highest(unit).Cmp(highest(than)) > 0 || !c.has(than, at)
}

// soundTokens is more than any vendor counts for a second of sound: Google counts 32,
// OpenAI 10.
const soundTokens = 50

// ContextWindow returns the most tokens that one call of a model can read and write;
// 0 where the list does not know it.
func (l *List) ContextWindow(provider, model string) int64 {
	return l.limitsOf(provider, model).ContextWindow
}

// limitsOf returns the limits of a model, with the defaults filled in.
func (l *List) limitsOf(provider, model string) modelLimits {
	var out modelLimits
	if found := l.bounds[provider].find(model, func(*modelLimits) bool { return true }); found != nil {
		out = *found
	}
	if out.MaxOutputTokens == 0 {
		out.MaxOutputTokens = defaultMaxOutputTokens
	}
	if out.MaxImageTokens == 0 {
		out.MaxImageTokens = defaultMaxImageTokens
	}
	if out.MaxMilliSeconds == 0 {
		out.MaxMilliSeconds = defaultMaxMilliSeconds
	}
	return out
}

// inputTokens bounds the input of a request from above, but for its media.
func inputTokens(req providers.Request) int64 {
	n := frameTokens + messageTokens*(len(req.Messages)+len(req.Tools))
	for text := range req.Texts() {
		n += len(text)
	}
	for _, m := range req.Messages {
		n += len(m.Role) + messageTokens*(len(m.Parts)+len(m.ToolCalls))
	}
	if req.ResponseFormat != nil || len(req.Tools) > 0 || len(req.Extra) > 0 {
		n += instructionTokens
	}
	for name, value := range req.Extra {
		n += len(name) + len(value)
	}
	return int64(n)
}

// imageTokens is the most output tokens of one picture.
func (b modelLimits) imageTokens(req providers.Request) int64 {
	if n, ok := b.ImageTokens[req.Size+"/"+req.Quality]; ok {
		return n
	}
	return b.MaxImageTokens
}

// tierOf is at what terms a request asks to be served, as a Usage.Tier. What the
// vendor decides by itself ("auto") is taken to be the standard.
func tierOf(req providers.Request) string {
	words := []string{req.ServiceTier}
	for _, name := range []string{"service_tier", "serviceTier", "speed", "inference_geo"} {
		var word string
		if json.Unmarshal(req.Extra[name], &word) == nil {
			words = append(words, word)
		}
	}
	return providers.Tier(words...)
}

// hourCache reports whether a request asks for a cache that is kept for an hour.
func hourCache(req providers.Request) bool {
	if req.Marks(providers.Cache1h) {
		return true
	}
	for _, value := range req.Extra {
		if bytes.Contains(value, []byte(`"1h"`)) {
			return true
		}
	}
	return false
}

// searches returns the number of times that a request may search the web: as often as its tools allow.
func searches(req providers.Request) int64 {
	var n int64
	for _, t := range req.Tools {
		var tool struct {
			MaxUses int64 `json:"max_uses"`
		}
		_ = json.Unmarshal(t.Own, &tool) // of another form: none of these
		if kind := t.Kind(); strings.HasPrefix(kind, "web_search") || kind == "googleSearch" || kind == "google_search" {
			if tool.MaxUses <= 0 || tool.MaxUses > maxBound {
				tool.MaxUses = mostSearches
			}
			n += tool.MaxUses
		}
	}
	if len(req.Extra["web_search_options"]) > 0 {
		n++ // chat completions search once
	}
	return n
}

// countMedia returns the most tokens that a kind counts for the media of a request.
func countMedia(kind string, req providers.Request) (pictures, sound int64) {
	for range req.Media() {
		can, _ := kinds.CapabilitiesOf(kind)
		return can.CountMedia(req)
	}
	return 0, 0
}

// has reports whether the card has a price for a unit.
func (c *card) has(unit providers.Unit, at time.Time) bool {
	return c != nil && slices.ContainsFunc(c.rows, func(r *Row) bool { return r.Unit == unit && r.inForce(at) })
}

// dearest returns the variant with the highest rate of those that a request
// allows. A size or quality that it does not name is the provider's default;
// "auto", or no such default, allows all. Where the card has no such variant the
// one asked for is returned, which is then unpriced.
func (c *card) dearest(unit providers.Unit, req providers.Request, limits modelLimits, at time.Time) string {
	size, quality := req.Size, req.Quality
	if size == "" {
		size = limits.DefaultSize
	}
	if quality == "" {
		quality = limits.DefaultQuality
	}
	var best *Row
	variants := false
	if c != nil {
		for _, r := range c.rows {
			if r.Unit != unit || !r.inForce(at) || r.Variant == "" {
				continue
			}
			variants = true
			s, q, _ := strings.Cut(r.Variant, "/")
			if allows(size, s) && allows(quality, q) && (best == nil || r.perUnit.Cmp(best.perUnit) > 0) {
				best = r
			}
		}
	}
	switch {
	case best != nil:
		return best.Variant
	case !variants:
		return ""
	}
	return strings.Trim(size+"/"+quality, "/")
}

// allows reports whether a word of a request can mean that of a variant.
func allows(asked, has string) bool {
	return asked == "" || asked == "auto" || has == "" || asked == has
}

// times returns a × b for amounts that are not negative, or the largest int64.
func times(a, b int64) int64 {
	if a > 0 && b > math.MaxInt64/a {
		return math.MaxInt64
	}
	return a * b
}

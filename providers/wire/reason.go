package wire

import (
	"bytes"
	"html"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	// longestReason is the most characters that are kept of a vendor's sentence.
	longestReason = 300
	// echoed is from how many bytes on what a sentence and the request have in
	// common is taken for an echo and cut out.
	echoed = 16
)

// reason is the vendor's sentence as it may be shown to whoever made the request:
// one line, without what it repeats of the request and the key. Of a page only its
// title is kept.
func (r *refusal) reason(a Answer) string {
	message := r.message
	if isPage(a) {
		about := "an HTML page answered at " + a.URL
		if title := pageTitle(a.Body); title != "" {
			about += " (" + oneLine(hide(title, a.Hide), 80) + ")"
		}
		if a.Status/100 == 2 || a.Status/100 == 3 || a.Status == 404 || a.Status == 405 {
			about += ": is base_url right?"
		}
		return about
	}
	return oneLine(hide(message, a.Hide), longestReason)
}

// oneLine is s on one line without anything that does not print, at most so many
// characters of it.
func oneLine(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

// hide cuts out of a sentence what it has in common with what must not be repeated:
// a text as a whole, and of longer ones each piece of echoed bytes and more.
func hide(sentence string, secrets []string) string {
	sentence = sentence[:min(len(sentence), 8*longestReason)]
	cut := make([]bool, len(sentence))
	for _, secret := range secrets {
		secret = strings.TrimSpace(secret)
		for from := 0; len(secret) >= 4; {
			at := strings.Index(sentence[min(from, len(sentence)):], secret)
			if at < 0 {
				break
			}
			at += from
			mark(cut, at, at+len(secret))
			from = at + len(secret)
		}
		cutEchoes(cut, sentence, secret)
	}
	var b strings.Builder
	for i := 0; i < len(sentence); {
		if !cut[i] {
			b.WriteByte(sentence[i])
			i++
			continue
		}
		for i < len(sentence) && cut[i] {
			i++
		}
		b.WriteString("…")
	}
	return b.String()
}

// cutEchoes marks the pieces of sentence that stand in secret too. It looks up the
// pieces of the text, which may be long, among those of the sentence, which is not.
func cutEchoes(cut []bool, sentence, secret string) {
	if len(sentence) < echoed || len(secret) < echoed {
		return
	}
	places := make(map[string][]int, len(sentence))
	for i := range len(sentence) - echoed + 1 {
		piece := sentence[i : i+echoed]
		places[piece] = append(places[piece], i)
	}
	for i := range len(secret) - echoed + 1 {
		for _, at := range places[secret[i:i+echoed]] {
			mark(cut, at, at+echoed)
		}
	}
}

// echoes reports whether a word holds the key, or a text of the request that is a
// word.
func echoes(word string, secrets []string) bool {
	return slices.ContainsFunc(secrets, func(secret string) bool { return len(secret) >= 8 && strings.Contains(word, secret) })
}

func mark(cut []bool, from, to int) {
	for i := from; i < to; i++ {
		cut[i] = true
	}
}

// isPage reports whether an answer is a page of HTML, by its bytes or by what it
// says to be.
func isPage(a Answer) bool {
	if looksLikePage(a.Body) {
		return true
	}
	said, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	body := trimmed(a.Body)
	return err == nil && said == "text/html" && len(body) > 0 && body[0] == '<'
}

func looksLikePage(body []byte) bool {
	head := bytes.ToLower(trimmed(body[:min(len(body), 1024)]))
	for bytes.HasPrefix(head, []byte("<!--")) {
		_, rest, found := bytes.Cut(head, []byte("-->"))
		if !found {
			return true
		}
		head = bytes.TrimSpace(rest)
	}
	for _, mark := range []string{"<!doctype html", "<html", "<head", "<body", "<title", "<h1", "<center"} {
		if bytes.HasPrefix(head, []byte(mark)) {
			return true
		}
	}
	return bytes.HasPrefix(head, []byte("<?xml")) && bytes.Contains(head, []byte("<html"))
}

// pageTitle is the title of a page, or its first heading.
func pageTitle(body []byte) string {
	for _, tag := range []string{"title", "h1"} {
		found := regexp.MustCompile(`(?is)<` + tag + `[^>]*>([^<]{1,200})`).FindSubmatch(body)
		if found != nil {
			return html.UnescapeString(string(found[1]))
		}
	}
	return ""
}

// saidWait returns the time that a sentence asks to wait: "Please try again in 6m0s", "in
// 350ms", "Please retry after 17 seconds".
func saidWait(sentence string) time.Duration {
	found := regexp.MustCompile(`(?i)(?:try again|retry|wait)[a-z ]{0,20}?(?:in|after|for) ([0-9][0-9.hms]*)( *(?:milliseconds?|seconds?|minutes?))?`).
		FindStringSubmatch(sentence)
	if found == nil {
		return 0
	}
	amount := strings.TrimRight(found[1], ".")
	unit := time.Second
	switch word := strings.ToLower(strings.TrimSpace(found[2])); {
	case strings.HasPrefix(word, "milli"):
		unit = time.Millisecond
	case strings.HasPrefix(word, "minute"):
		unit = time.Minute
	case word == "":
		if d, err := time.ParseDuration(amount); err == nil {
			return min(max(0, d), maxWait)
		}
		return 0
	}
	d, _ := parseNumber(amount, unit)
	return d
}

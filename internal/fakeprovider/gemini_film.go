package fakeprovider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"oneflow/internal/media"
)

// googleFilm is a film that was ordered.
type googleFilm struct {
	seed     uint64
	size     [2]int
	seconds  int
	polls    int // how often it will still not be done
	failed   bool
	filtered bool
}

// order accepts a film.
func (g *gemini) order(c *call) answer {
	var r struct {
		Instances []struct {
			Prompt string `json:"prompt"`
		} `json:"instances"`
		Parameters struct {
			AspectRatio     string `json:"aspectRatio"`
			Resolution      string `json:"resolution"`
			DurationSeconds int    `json:"durationSeconds"`
			NegativePrompt  string `json:"negativePrompt"`
			Count           int    `json:"numberOfVideos"`
		} `json:"parameters"`
	}
	if a := googleDecode(c, &r, "instances parameters"); a.status != 0 {
		return a
	}
	p := r.Parameters
	switch {
	case !strings.HasPrefix(c.model, "veo-"):
		return googleError(http.StatusNotFound, "NOT_FOUND", fmt.Sprintf("models/%s is not found for API version v1beta, or is not supported for predictLongRunning.", c.model))
	case len(r.Instances) != 1 || r.Instances[0].Prompt == "":
		return googleInvalid("The request must hold one instance with a `prompt`.")
	case !slices.Contains([]string{"", "16:9", "9:16"}, p.AspectRatio):
		return googleInvalid("`aspectRatio` must be 16:9 or 9:16.")
	case !slices.Contains([]string{"", "720p", "1080p", "4k"}, p.Resolution):
		return googleInvalid("`resolution` must be 720p, 1080p or 4k.")
	case !slices.Contains([]int{0, 4, 6, 8}, p.DurationSeconds):
		return googleInvalid("`durationSeconds` must be 4, 6 or 8.")
	case p.Resolution != "" && p.Resolution != "720p" && !slices.Contains([]int{0, 8}, p.DurationSeconds):
		return googleInvalid("`durationSeconds` must be 8 for this resolution.")
	case p.Count > 1:
		return googleInvalid("`numberOfVideos` isn't supported by this model.")
	}
	f := &googleFilm{
		seed: c.seed(), size: [2]int{64, 36}, seconds: p.DurationSeconds, polls: g.config.VideoPolls,
		failed: c.fault == VideoFailed, filtered: c.fault == Refused,
	}
	if p.AspectRatio == "9:16" {
		f.size = [2]int{36, 64}
	}
	if f.seconds == 0 {
		f.seconds = 8
	}
	a := answer{status: http.StatusOK, contentType: "application/json", usage: Usage{MilliSeconds: int64(f.seconds) * 1000}}
	if !f.failed && !f.filtered {
		a.billed = Billed{MilliSeconds: int64(f.seconds) * 1000, Variant: p.Resolution}
	}
	a.billID = fmt.Sprintf("film%012d", c.number)
	name := "models/" + c.model + "/operations/" + a.billID
	a.render = func() []byte {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.films[name] = f
		return jsonAnswer(http.StatusOK, map[string]any{"name": name}).body
	}
	return a
}

// operation says how far a film is; each call brings it on.
func (g *gemini) operation(c *call) answer {
	name := strings.TrimPrefix(c.path, "/v1beta/")
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.films[name]
	switch {
	case f == nil:
		return googleError(http.StatusNotFound, "NOT_FOUND", "Operation not found.")
	case f.polls > 0:
		f.polls--
		return jsonAnswer(http.StatusOK, map[string]any{"name": name})
	case f.failed:
		return jsonAnswer(http.StatusOK, map[string]any{"name": name, "done": true, "error": map[string]any{"code": 13, "message": "Video generation failed due to an internal server issue."}})
	}
	made := map[string]any{"generatedSamples": []map[string]any{{"video": map[string]any{"uri": "http://" + c.r.Host + c.prefix + "/v1beta/files/" + c.segment(4) + ":download?alt=media"}}}}
	if f.filtered {
		made = map[string]any{"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": []string{"Sorry, we can't create videos of this kind."}}
	}
	return jsonAnswer(http.StatusOK, map[string]any{"name": name, "done": true, "response": map[string]any{
		"@type": "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse", "generateVideoResponse": made,
	}})
}

// download is the film itself.
func (g *gemini) download(c *call) answer {
	id, _, ok := strings.Cut(c.segment(2), ":download")
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, f := range g.films {
		if !ok || !strings.HasSuffix(name, "/"+id) || f.polls > 0 {
			continue
		}
		data, err := media.MP4(f.seed, f.size[0], f.size[1], time.Duration(f.seconds)*time.Second)
		if err != nil {
			return c.refuse(refusal{reason: serverError})
		}
		return answer{status: http.StatusOK, contentType: "video/mp4", body: data}
	}
	return googleError(http.StatusForbidden, "PERMISSION_DENIED", "You do not have permission to access the File "+id+" or it may not exist.")
}

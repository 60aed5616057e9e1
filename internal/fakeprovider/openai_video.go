package fakeprovider

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"oneflow/internal/media"
)

// video is one that was asked for.
type video struct {
	id, model, size string
	seconds         int
	created         int64
	seed            uint64
	polls           int // how often it will still be in progress
	failed          bool
	done            bool
}

// video accepts a video, as JSON or as a form.
func (o *openai) video(c *call) answer {
	r := struct {
		Model   string `json:"model"`
		Prompt  string `json:"prompt"`
		Seconds string `json:"seconds"`
		Size    string `json:"size"`
	}{}
	if c.form != nil {
		r.Model, r.Prompt, r.Seconds, r.Size = c.form["model"], c.form["prompt"], c.form["seconds"], c.form["size"]
	} else if a := openaiDecode(c, &r, strings.Fields("model prompt input_reference seconds size")); a.status != 0 {
		return a
	}
	if r.Seconds == "" {
		r.Seconds = "4"
	}
	if r.Size == "" {
		r.Size = "720x1280"
	}
	if r.Model == "" {
		r.Model = "sora-2"
	}
	seconds, err := strconv.Atoi(r.Seconds)
	w, h, sized := pixels(r.Size)
	switch {
	case r.Prompt == "":
		return openaiInvalid("missing_required_parameter", "prompt", "Missing required parameter: 'prompt'.")
	case err != nil || seconds < 1 || seconds > 20 || strings.HasPrefix(r.Model, "sora-") && !slices.Contains([]int{4, 8, 12}, seconds):
		return openaiInvalid("invalid_value", "seconds", fmt.Sprintf("Invalid value: '%s'. Supported values are: '4', '8', and '12'.", r.Seconds))
	case !sized || w%2 != 0 || h%2 != 0:
		return openaiInvalid("invalid_value", "size", fmt.Sprintf("Invalid value: '%s'. Supported values are: '720x1280', '1280x720', '1024x1792', and '1792x1024'.", r.Size))
	}
	if a := o.known(r.Model); a.status != 0 {
		return a
	}
	v := &video{
		id: fmt.Sprintf("video_%032x", c.number), model: r.Model, size: r.Size, seconds: seconds, created: c.arrived.Unix(),
		seed: c.seed(), polls: o.config.VideoPolls, failed: c.fault == VideoFailed,
	}
	billed := Billed{MilliSeconds: int64(seconds) * 1000}
	if v.failed {
		billed = Billed{}
	}
	return answer{
		status: http.StatusOK, contentType: "application/json", usage: Usage{MilliSeconds: int64(seconds) * 1000}, billed: billed, billID: v.id,
		render: func() []byte {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.videos[v.id] = v
			return jsonAnswer(http.StatusOK, v.resource("queued", 0)).body
		},
	}
}

func (v *video) resource(status string, progress int) map[string]any {
	out := map[string]any{
		"id": v.id, "object": "video", "model": v.model, "status": status, "progress": progress, "created_at": v.created,
		"completed_at": nil, "expires_at": nil, "prompt": nil, "size": v.size, "seconds": strconv.Itoa(v.seconds),
		"remixed_from_video_id": nil, "error": nil,
	}
	switch status {
	case "completed":
		out["completed_at"], out["expires_at"] = v.created+int64(v.seconds), v.created+3600
	case "failed":
		out["error"] = map[string]string{"code": "video_generation_failed", "message": "The video could not be generated."}
	}
	return out
}

// videoState says how far a video is; each call brings it on.
func (o *openai) videoState(c *call) answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.videos[c.segment(2)]
	switch {
	case v == nil:
		return noSuchVideo(c)
	case v.polls > 0:
		v.polls--
		return jsonAnswer(http.StatusOK, v.resource("in_progress", 50))
	case v.failed:
		return jsonAnswer(http.StatusOK, v.resource("failed", 0))
	}
	v.done = true
	return jsonAnswer(http.StatusOK, v.resource("completed", 100))
}

// videoContent is the film, once its state has been seen to be completed.
func (o *openai) videoContent(c *call) answer {
	o.mu.Lock()
	v := o.videos[c.segment(2)]
	done := v != nil && v.done
	o.mu.Unlock()
	if !done {
		return noSuchVideo(c)
	}
	w, h, _ := pixels(v.size)
	data, err := media.MP4(v.seed, w, h, time.Duration(v.seconds)*time.Second)
	if err != nil {
		return c.refuse(refusal{reason: serverError})
	}
	return answer{status: http.StatusOK, contentType: "video/mp4", body: data}
}

func noSuchVideo(c *call) answer {
	return openaiError(http.StatusNotFound, "invalid_request_error", "not_found", "video_id", fmt.Sprintf("Video with id '%s' not found, or not ready.", c.segment(2)))
}

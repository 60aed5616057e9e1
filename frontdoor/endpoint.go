package frontdoor

import (
	"net/http"

	"oneflow/providers"
)

// endpoint is a vendor's endpoint of calls.
type endpoint struct {
	path string
	task providers.Task
	// form reports whether its body is a form with a sound.
	form bool
	// batch reports whether rows of batches may ask for it.
	batch bool
	// refuse answers with an error in the vendor's form.
	refuse func(w http.ResponseWriter, r *http.Request, status int, message string)
	// write answers with a job's result.
	write func(f *FrontDoor, w http.ResponseWriter, r *http.Request, res result)
	// stream sends a result as the vendor's events; nil: it has none.
	stream func(res result, options streamOptions) []event
	// broke is the vendor's event for a failure after the headers.
	broke func(status int, message string) event
}

// streamOptions holds what a body says of its stream.
type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// endpoints are those that are served.
func endpoints() []endpoint {
	openAI := endpoint{refuse: refuse, write: writeBody, broke: brokeOpenAI}
	with := func(e endpoint, path string, task providers.Task, batch bool) endpoint {
		e.path, e.task, e.batch = path, task, batch
		return e
	}
	chat, responses := with(openAI, chatPath, providers.Text, true), with(openAI, responsesPath, providers.Text, true)
	chat.stream, responses.stream, responses.broke = streamChat, streamResponse, brokeResponse
	images := with(openAI, imagesPath, providers.Image, true)
	images.write = writeImages
	speech := with(openAI, speechPath, providers.Audio, false)
	speech.write = writeSpeech
	transcriptions := with(openAI, transcriptionsPath, providers.Transcription, false)
	transcriptions.form, transcriptions.write = true, writeText
	messages := endpoint{path: messagesPath, task: providers.Text, refuse: refuseAnthropic, write: writeBody, stream: streamMessage, broke: brokeAnthropic}
	return []endpoint{
		chat, responses, with(openAI, embeddingsPath, providers.Embedding, true), with(openAI, moderationsPath, providers.Moderation, true),
		images, speech, transcriptions, messages,
	}
}

// The vendors' paths.
const (
	chatPath        = "/v1/chat/completions"
	responsesPath   = "/v1/responses"
	embeddingsPath  = "/v1/embeddings"
	moderationsPath = "/v1/moderations"
	imagesPath      = "/v1/images/generations"
	speechPath      = "/v1/audio/speech"
	messagesPath    = "/v1/messages"

	transcriptionsPath = "/v1/audio/transcriptions"
)

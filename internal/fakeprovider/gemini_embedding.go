package fakeprovider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// maxEmbedRequests is the most texts that batchEmbedContents takes.
const maxEmbedRequests = 100

// googleEmbed is a request for a vector.
type googleEmbed struct {
	Model      string         `json:"model"`
	Content    *googleContent `json:"content"`
	Dimensions int            `json:"outputDimensionality"`
	TaskType   string         `json:"taskType"`
	Config     struct {
		Dimensions int `json:"outputDimensionality"`
	} `json:"embedContentConfig"`
}

// embed makes a vector for each request, out of its text alone.
func (g *gemini) embed(c *call, many bool) answer {
	var batch struct {
		Requests []googleEmbed `json:"requests"`
	}
	if many {
		if a := googleDecode(c, &batch, "requests"); a.status != 0 {
			return a
		}
		if len(batch.Requests) == 0 || len(batch.Requests) > maxEmbedRequests {
			return googleInvalid(fmt.Sprintf("* BatchEmbedContentsRequest.requests: at most %d requests can be in one batch", maxEmbedRequests))
		}
		for i, r := range batch.Requests {
			if r.Model != "models/"+c.model {
				return googleInvalid(fmt.Sprintf("* BatchEmbedContentsRequest.requests[%d].model: model must match the model in the path", i))
			}
		}
	} else {
		var one googleEmbed
		if a := googleDecode(c, &one, "content title embedContentConfig model outputDimensionality taskType"); a.status != 0 {
			return a
		}
		batch.Requests = []googleEmbed{one}
	}
	vectors := make([]map[string]any, len(batch.Requests))
	var tokens int64
	for i, r := range batch.Requests {
		dimensions := max(r.Dimensions, r.Config.Dimensions)
		switch {
		case r.Content == nil || len(r.Content.Parts) == 0 || r.Content.text() == "":
			return googleInvalid("* EmbedContentRequest.content: contents is not specified\n")
		case r.TaskType != "" && !strings.HasPrefix(r.TaskType, "RETRIEVAL_") && !slices.Contains([]string{"SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY"}, r.TaskType):
			return googleInvalid("Invalid value at 'task_type'")
		case dimensions < 0 || dimensions > 3072:
			return googleInvalid("* EmbedContentRequest.output_dimensionality: must be from 1 to 3072")
		case dimensions == 0:
			dimensions = 3072
		}
		text := r.Content.text()
		vectors[i] = map[string]any{"values": Vector(text, dimensions)}
		tokens += countTokens(text)
	}
	out := map[string]any{"usageMetadata": map[string]any{"promptTokenCount": tokens}}
	if many {
		out["embeddings"] = vectors
	} else {
		out["embedding"] = vectors[0]
	}
	a := jsonAnswer(http.StatusOK, out)
	a.usage, a.billed = Usage{InputTokens: tokens}, Billed{Input: tokens}
	return a
}

// Command sdk shows that programs written for OpenAI use OneFlow unchanged, by OpenAI's own client for Go: it makes a
// call, reads a stream, and takes a batch from its upload to its answers.
// OPENAI_BASE_URL and OPENAI_API_KEY say where the monitor is, and whom it knows you by.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	client := openai.NewClient()
	ask := func(text string) openai.ChatCompletionNewParams {
		// Any provider's model, such as gpt-6-luna or anthropic/claude-haiku-5-5.
		return openai.ChatCompletionNewParams{Model: "mock", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)}}
	}
	answer, err := client.Chat.Completions.New(ctx, ask("Say hello."))
	if err != nil {
		return err
	}
	fmt.Println("call:", answer.Choices[0].Message.Content != "")

	words := ""
	stream := client.Chat.Completions.NewStreaming(ctx, ask("Say it again."))
	for stream.Next() {
		if chunk := stream.Current(); len(chunk.Choices) > 0 {
			words += chunk.Choices[0].Delta.Content
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	fmt.Println("stream:", words != "")

	var rows strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rows, `{"custom_id":"item-%d","method":"POST","url":"/v1/chat/completions","body":{"model":"mock","messages":[{"role":"user","content":"Describe item %d."}]}}`+"\n", i, i)
	}
	upload, err := client.Files.New(ctx, openai.FileNewParams{File: openai.File(strings.NewReader(rows.String()), "items.jsonl", "application/jsonl"), Purpose: openai.FilePurposeBatch})
	if err != nil {
		return err
	}
	batch, err := client.Batches.New(ctx, openai.BatchNewParams{InputFileID: upload.ID, Endpoint: "/v1/chat/completions", CompletionWindow: "24h"})
	for err == nil && batch.Status != openai.BatchStatusCompleted {
		time.Sleep(200 * time.Millisecond)
		batch, err = client.Batches.Get(ctx, batch.ID)
	}
	if err != nil {
		return err
	}
	content, err := client.Files.Content(ctx, batch.OutputFileID)
	if err != nil {
		return err
	}
	defer content.Body.Close()
	text, err := io.ReadAll(content.Body)
	if err != nil {
		return err
	}
	fmt.Println("batch:", batch.Status, strings.Count(string(text), "\n"))
	return nil
}

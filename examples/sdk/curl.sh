#!/bin/sh
# A call, a batch from its upload to its answers, and a job of our own API, by curl alone.
# OPENAI_BASE_URL (with /v1) and OPENAI_API_KEY say where the monitor is, and whom it knows you by.
set -eu
api="${OPENAI_BASE_URL%/v1}/api/v1"
# ask METHOD URL [curl's options]: an error of HTTP is one of the program.
ask() { method=$1 url=$2; shift 2; curl --silent --show-error --fail-with-body -X "$method" "$url" -H "Authorization: Bearer $OPENAI_API_KEY" "$@"; }
# field NAME: the text of a field of the JSON that comes in.
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" | head -n 1; }

ask POST "$OPENAI_BASE_URL/chat/completions" -H 'Content-Type: application/json' \
  -d '{"model": "mock", "messages": [{"role": "user", "content": "Say hello."}]}' | grep -q '"content"'
echo "call: true"

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
for i in 1 2 3; do
  echo "{\"custom_id\": \"item-$i\", \"method\": \"POST\", \"url\": \"/v1/chat/completions\", \"body\": {\"model\": \"mock\", \"messages\": [{\"role\": \"user\", \"content\": \"Describe item $i.\"}]}}"
done > "$lines"
file=$(ask POST "$OPENAI_BASE_URL/files" -F purpose=batch -F "file=@$lines;filename=items.jsonl" | field id)
batch=$(ask POST "$OPENAI_BASE_URL/batches" -H 'Content-Type: application/json' \
  -d "{\"input_file_id\": \"$file\", \"endpoint\": \"/v1/chat/completions\", \"completion_window\": \"24h\"}" | field id)
until output=$(ask GET "$OPENAI_BASE_URL/batches/$batch" | field output_file_id) && [ -n "$output" ]; do sleep 0.2; done
echo "batch: completed $(ask GET "$OPENAI_BASE_URL/files/$output/content" | wc -l | tr -d ' ')"

job=$(ask POST "$api/jobs" -H 'Content-Type: application/json' -H "Idempotency-Key: example" -d '{"provider": "mock", "prompt": "Say hello."}' | field id)
until [ "$(ask GET "$api/jobs/$job" | field state)" = succeeded ]; do sleep 0.2; done
echo "job: succeeded"

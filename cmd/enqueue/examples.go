package main

import "oneflow/internal/cli"

// program holds the text of help: the command, and examples of its commands.
func program() cli.Program {
	return cli.Program{
		Name: "enqueue", Description: "Bring generation jobs in, and take their results out.",
		Examples: map[string][]string{
			"text": {
				`enqueue text "Write a haiku about queues" --wait`,
				`enqueue text "Good morning" --at 08:00 --provider anthropic`,
				`enqueue text - --wait -o json < prompt.txt`,
				`enqueue text -- "-5 degrees: what to wear?"`,
			},
			"image": {`enqueue image "A lighthouse in fog" --set size=256x256 --wait`},
			"audio": {`enqueue audio "Good morning" --set voice=alloy --wait`},
			"video": {`enqueue video "A lighthouse in fog" --provider mock --wait`},
			"embedding": {
				`enqueue embedding "A lighthouse in fog" --wait`,
				`enqueue embedding "A lighthouse in fog" --model text-embedding-3-large --set dimensions=256`,
			},
			"transcription": {
				`enqueue transcription meeting.mp3 --wait`,
				`enqueue transcription meeting.mp3 --set language=en --set temperature=0`,
			},
			"pipeline": {
				`enqueue pipeline pipeline.yaml`,
				`enqueue pipeline pipeline.yaml articles.csv --batch-id nightly --watch`,
			},
			"batch": {
				`enqueue batch prompts.jsonl --watch`,
				`enqueue batch prompts.jsonl --dry-run`,
				`enqueue batch structured.jsonl --reask 2 --on-cut retry`,
				`enqueue batch reviews.csv --template 'Is this a complaint? {{review}}' --combine 10`,
				`enqueue batch prompts.jsonl --max-cost 25 --complete-by "tomorrow 08:00"`,
				`enqueue batch prompts.jsonl --budget 5 --watch`,
				`enqueue batch prompts.jsonl --warm`,
				`enqueue batch prompts.jsonl --webhook https://example.com/hooks/oneflow`,
				`enqueue batch articles.csv --template "Summarise: {{text}}" --then translate.yaml`,
				`enqueue batch data.jsonl --map prompt=question --batch-id nightly`,
				`enqueue batch - --set max_tokens=200 --chain openai,anthropic < prompts.jsonl`,
				`enqueue batch reviews.csv.gz --template 'Is this a complaint? {{review}}' --sample 50`,
				`enqueue batch pictures/ --template "Describe this picture in one sentence" --sample 20`,
				`enqueue batch recordings/ --task transcription --set language=en`,
				`enqueue batch s3://bucket/prompts.parquet --tag team=search --priority high`,
			},
			"ls":     {`enqueue ls`, `enqueue ls --state partial --since 7d`, `enqueue ls --limit 5 -o ndjson`},
			"jobs":   {`enqueue jobs nightly --failed`, `enqueue jobs nightly --limit 1000 -o ndjson`},
			"status": {`enqueue status nightly`, `enqueue status nightly -o json`},
			"watch":  {`enqueue watch nightly`},
			"cancel": {`enqueue cancel nightly`},
			"pause":  {`enqueue pause nightly`},
			"resume": {`enqueue resume nightly`},
			"retry":  {`enqueue retry nightly --failed`, `enqueue retry nightly --class rate_limited`, `enqueue retry nightly --unknown --expired`},
			"resolve": {
				`enqueue resolve nightly --unbilled --retry`,
				`enqueue resolve nightly --billed --cost 0.0042`,
			},
			"rm": {`enqueue rm nightly`, `enqueue rm nightly --yes`},
			"cost": {
				`enqueue cost nightly`,
				`enqueue cost --by day --since 7d`,
				`enqueue cost --by tag --tag team`,
				`enqueue cost --by account,provider,model --since 30d -o csv`,
			},
			"export": {
				`enqueue export nightly --out results.jsonl`,
				`enqueue export nightly --format csv --with text,cost_usd --out results.csv --errors failed.csv`,
				`enqueue export nightly --excel comma --out results.csv`,
				`enqueue export nightly --failed --format raw`,
				`enqueue export nightly --since-last --out today.jsonl`,
			},
			"compare": {
				`enqueue compare prompts.jsonl --with openai/gpt-6-luna,anthropic/claude-haiku-5-5 --limit 20`,
				`enqueue compare reviews.csv --template 'Is this a complaint? {{review}}' --with openai,anthropic --judge openai/gpt-6-sol --max-cost 5`,
				`enqueue compare --show prompts-1a2b3c4d -o json`,
			},
			"schedule add": {
				`enqueue schedule add news --cron '0 6 * * *' --tz Europe/Paris -- text "Three headlines, please"`,
				`enqueue schedule add nightly --cron '30 2 * * 1-5' --tz America/New_York -- batch prompts.jsonl --provider openai`,
				`enqueue schedule add reviews --every 6h --overlap queue -- batch s3://bucket/reviews.csv --template 'Is this a complaint? {{review}}' --tag team=care`,
				`enqueue schedule add line --cron @daily -- pipeline pipeline.yaml`,
			},
			"schedule ls":      {`enqueue schedule ls`, `enqueue schedule ls nightly -o json`},
			"schedule pause":   {`enqueue schedule pause nightly`},
			"schedule resume":  {`enqueue schedule resume nightly`},
			"schedule rm":      {`enqueue schedule rm nightly`, `enqueue schedule rm nightly --yes`},
			"schedule run-now": {`enqueue schedule run-now nightly`, `enqueue schedule run-now nightly -o json`},
			"schedule history": {`enqueue schedule history nightly`, `enqueue schedule history nightly --limit 100 -o ndjson`},
			"completion":       {`eval "$(enqueue completion bash)"`, `enqueue completion fish > ~/.config/fish/completions/enqueue.fish`},
		},
	}
}

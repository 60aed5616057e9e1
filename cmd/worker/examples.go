package main

import "oneflow/internal/cli"

// program holds the text of help: the command, and examples of its commands.
func program() cli.Program {
	return cli.Program{
		Name: "worker", Description: "Run generation jobs.",
		Examples: map[string][]string{
			"run":            {`worker run`, `worker run --provider openai --provider anthropic`, `worker run --explain`},
			"adopt-redis":    {`worker adopt-redis`},
			"migrate up":     {`worker migrate up`},
			"migrate status": {`worker migrate status`},
			"keys set":       {`worker keys set openai`, `worker keys set openai --add < key.txt`},
			"keys ls":        {`worker keys ls`},
			"keys check":     {`worker keys check`, `worker keys check openai --offline`},
			"keys rm":        {`worker keys rm openai`},
			"check":          {`worker check`, `worker check openai`},
			"models":         {`worker models openai`, `worker models -o ndjson`},
			"roles grant":    {`worker roles grant shop --account shop`},
			"roles revoke":   {`worker roles revoke shop`},
			"roles ls":       {`worker roles ls`, `worker roles ls -o json`},
			"prices check":   {`worker prices check`, `worker prices check openai`},
			"prices import":  {`worker prices import genai-prices.json`, `worker prices import genai-prices.json --provider groq --to prices.json`},
			"completion":     {`eval "$(worker completion bash)"`, `worker completion fish > ~/.config/fish/completions/worker.fish`},
		},
	}
}

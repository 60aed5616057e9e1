package main

import "oneflow/internal/cli"

// program holds the text of help: the command, and examples of its commands.
func program() cli.Program {
	return cli.Program{
		Name: "monitor", Description: "Show what OneFlow does, and take operators' orders.",
		Examples: map[string][]string{
			"serve":             {`monitor serve`, `monitor serve --listen 127.0.0.1:9000 --base-path /oneflow`},
			"status":            {`monitor status`, `monitor status -o json`},
			"health":            {`monitor health`, `monitor health http://127.0.0.1:9000`},
			"providers ls":      {`monitor providers ls`, `monitor providers ls --since 7d`},
			"providers disable": {`monitor providers disable openai --reason "invoice is being checked"`},
			"providers enable":  {`monitor providers enable openai`},
			"providers reset":   {`monitor providers reset openai`, `monitor providers reset --all`},
			"providers open":    {`monitor providers open openai`},
			"providers close":   {`monitor providers close openai`},
			"providers auto":    {`monitor providers auto openai`},
			"limits set":        {`monitor limits set openai --rpm 500 --tpm 200000`, `monitor limits set openai --concurrent 0`},
			"limits ls":         {`monitor limits ls`},
			"limits reset":      {`monitor limits reset openai`},
			"chains ls":         {`monitor chains ls`},
			"chains set":        {`monitor chains set text anthropic,openai`},
			"chains reset":      {`monitor chains reset text`},
			"best":              {`monitor best text`},
			"budget set":        {`monitor budget set --daily 50 --provider openai`, `monitor budget set --monthly 1000 --account research --timezone Europe/Paris --warn`},
			"budget ls":         {`monitor budget ls`, `monitor budget ls -o json`},
			"budget rm":         {`monitor budget rm 3`},
			"wallet create":     {`monitor wallet create research`},
			"wallet deposit":    {`monitor wallet deposit research 25 --note "invoice 1042"`},
			"wallet withdraw":   {`monitor wallet withdraw research 5`},
			"wallet show":       {`monitor wallet show research`},
			"wallet card":       {`monitor wallet card research examples/rate-cards/credits.json`, `monitor wallet card research --none`},
			"wallet statement":  {`monitor wallet statement research --limit 20`},
			"cache stats":       {`monitor cache stats`, `monitor cache stats --since 7d -o json`},
			"cache clear":       {`monitor cache clear --provider openai --model gpt-6-luna`},
			"alerts":            {`monitor alerts`, `monitor alerts --all -o json`},
			"webhooks ls":       {`monitor webhooks`, `monitor webhooks ls --failed`, `monitor webhooks ls nightly-42 -o json`},
			"webhooks resend":   {`monitor webhooks resend 0b9c7a52-7d0e-4a2f-9a53-0c6f0c4f2a11`},
			"budget bound":      {`monitor budget bound openai gpt-6-luna 150`},
			"export-metrics":    {`monitor export-metrics --since 7d --format csv`},
			"wallet ls":         {`monitor wallet ls -o json`},
			"token create":      {`monitor token create grafana --scope read`, `monitor token create research --scope enqueue --account research --expires 30d -o json`},
			"token ls":          {`monitor token ls`},
			"token revoke":      {`monitor token revoke oneflow_k3v9w2m4xq`},
			"audit":             {`monitor audit --limit 20`},
			"completion":        {`eval "$(monitor completion bash)"`, `monitor completion fish > ~/.config/fish/completions/monitor.fish`},
		},
	}
}

package main

import "oneflow/internal/cli"

// program holds the text of help: the command, and examples of its commands.
func program() cli.Program {
	return cli.Program{
		Name: "dev", Description: "Run everything on this machine, for trying out and developing.",
		Examples: map[string][]string{
			"up":         {`dev up`, `dev up --fake-providers --listen 127.0.0.1:9000`, `dev up --fake-providers --faults overloaded=0.2,out_of_money=0.05`},
			"demo":       {`dev demo`},
			"setup":      {`dev setup`},
			"completion": {`eval "$(dev completion bash)"`, `dev completion fish > ~/.config/fish/completions/dev.fish`},
		},
	}
}

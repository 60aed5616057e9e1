package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"oneflow/artifacts"
	"oneflow/batches"
	"oneflow/internal/cli"
	"oneflow/jobs"
	"oneflow/providers"
)

// origin stands for the file. Standard input has none.
func (c *batchCmd) origin() string {
	if artifacts.IsURL(c.File) {
		return c.File
	}
	path, err := filepath.Abs(c.File)
	if c.File == "-" || err != nil {
		return ""
	}
	return path
}

// hashed stands before the hash of a text that may be a prompt, or long.
const hashed = "sha256:"

// kept are the options that decide what is made of the rows, by their flags: a rerun with others
// would buy the rows anew. Those of when, how urgently and for whom are none of them, and none is
// how old an answer from the cache may be.
func (c *batchCmd) kept(in batches.Input) map[string]string {
	kept := map[string]string{"--on-unknown": string(in.OnUnknown)}
	flags := map[string]string{
		"task": "--task", "provider": "--provider", "model": "--model", "chain": "--chain", "fallback": "--fallback",
		"reask": "--reask", "on_cut": "--on-cut", "combine": "--combine",
	}
	for name, value := range in.Defaults {
		var plain string
		var list []string
		switch flag, own := flags[name]; {
		case name == "lane", name == "cache_seconds", name == "cache_varied":
		case own && json.Unmarshal(value, &plain) == nil:
			kept[flag] = plain
		case own && json.Unmarshal(value, &list) == nil:
			kept[flag] = strings.Join(list, ",")
		case own:
			kept[flag] = string(value)
		case name == "prompt" && c.Template != "":
			kept["--template"] = short(string(value))
		default:
			kept["--set "+name] = short(string(value))
		}
	}
	if kept["--model"] == "" && in.DefaultModel != nil { // another release may have another
		kept["--model"] = in.DefaultModel(kept["--provider"], providers.Task(c.Task))
	}
	for field, column := range in.Map {
		kept["--map "+field] = "=" + column
	}
	if in.Template != nil {
		kept["--template"] = short(in.Template.String())
	}
	if c.Format != "auto" {
		kept["--format"] = c.Format
	}
	if c.Sample > 0 {
		kept["--sample"], kept["--seed"] = strconv.Itoa(int(c.Sample)), strconv.FormatUint(c.Seed, 10)
	}
	if c.Warm {
		kept["--warm"] = "true"
	}
	return kept
}

// short is a number or a word of JSON, or else the hash of the text.
func short(value string) string {
	if value == "" || len(value) < 24 && value[0] != '"' && json.Valid([]byte(value)) {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return hashed + hex.EncodeToString(sum[:8])
}

// made says how a batch was made otherwise than it is brought now.
func made(e *jobs.OtherOptionsError) string {
	isHash := func(value string) bool { return strings.HasPrefix(value, hashed) }
	flag := func(value string) string {
		switch {
		case value == "":
			return "no " + e.Name
		case isHash(value), value == "true":
			return e.Name
		case value[0] == '=':
			return e.Name + cli.Printable(value)
		case strings.HasPrefix(e.Name, "--set "):
			return e.Name + "=" + cli.Printable(value)
		}
		return e.Name + " " + cli.Printable(value)
	}
	if isHash(e.Is) && isHash(e.Given) {
		return fmt.Sprintf("was made with another %s than this", e.Name)
	}
	return fmt.Sprintf("was made with %s, and this has %s", flag(e.Is), flag(e.Given))
}

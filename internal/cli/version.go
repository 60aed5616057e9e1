package cli

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// version says which build of a program this is, for --version.
func version(name string) string { return name + " " + Release() }

// Release names this build: its release, else the commit that it was built from, and Go's
// version.
func Release() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	release := info.Main.Version
	if release == "(devel)" || release == "" {
		release = fmt.Sprintf("%.12s", cmp.Or(settings["vcs.revision"], "development"))
		if settings["vcs.modified"] == "true" {
			release += ", with changes"
		}
	}
	return fmt.Sprintf("%s (%s)", release, info.GoVersion)
}

//go:build !chaos

package chaos

// builds are the commands that a minute of chaos needs.
func builds() map[string][]string { return map[string][]string{release: nil} }

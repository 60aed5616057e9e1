package cli_test

import (
	"errors"
	"strings"
	"testing"

	"oneflow/internal/cli"
)

func TestRedisIsNotTakenUncheckedUnlessAFlagSaysSo(t *testing.T) {
	t.Parallel()
	for url, insecure := range map[string]bool{
		"rediss://u:p@h:6379/0":                               false,
		"rediss://h:6379/0?skip_verify=false":                 false,
		"rediss://h:6379/0?skip_verify=true":                  true,
		"rediss://h:6379/0?skip_verify=1":                     true,
		"rediss://h:6379?db=1&skip_verify=true&max_retries=2": true,
		"redis://h:6379/0":                                    false,
	} {
		opts, err := cli.Services{RedisURL: url}.RedisOptions()
		exit, ok := errors.AsType[*cli.ExitError](err)
		if insecure && (!ok || exit.Code != cli.Unsafe || !strings.Contains(err.Error(), "--insecure-redis-tls")) {
			t.Errorf("%s: got %v", url, err)
		}
		if !insecure && (err != nil || opts.TLSConfig != nil && opts.TLSConfig.InsecureSkipVerify) {
			t.Errorf("%s: got %v", url, err)
		}
		if _, err := (cli.Services{RedisURL: url, InsecureRedisTLS: true}).RedisOptions(); err != nil {
			t.Errorf("%s, with the flag: %v", url, err)
		}
	}
}

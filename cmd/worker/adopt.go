package main

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"oneflow/internal/cli"
	"oneflow/jobs"
)

// adoptRedisCmd makes a Redis this fleet's.
type adoptRedisCmd struct{}

// Run adopts it, whoever had it.
func (adoptRedisCmd) Run(s *session) error {
	db, err := s.Services.Postgres(s.Ctx, s.Log)
	if err != nil {
		return stopped(s, err)
	}
	defer db.Close()
	if _, err := s.Services.Redis(s.Ctx, s.Log); err != nil {
		return stopped(s, err)
	}
	options, err := s.Services.RedisOptions()
	if err != nil {
		return cli.Fail(cli.Usage, err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	before, err := jobs.NewOwner(client, db).Adopt(s.Ctx)
	if err != nil {
		return err
	}
	said := "this Redis is this fleet's: nobody else had it"
	if before != "" {
		said = fmt.Sprintf("this Redis is this fleet's now; it was the fleet %s's, which needs another one", before)
	}
	_, err = fmt.Fprintln(s.Env.Out, said)
	return err
}

package app

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool" //nolint:depguard // an application's own transactions
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"oneflow/batches"
	"oneflow/config"
	"oneflow/internal/storetest"
	"oneflow/jobs"
	"oneflow/store"
)

// shop is an application with a role of its own, which submits jobs.
type shop struct {
	t    *testing.T
	db   *store.Store
	pool *pgxpool.Pool // the application's
	own  *pgxpool.Pool // the fleet's
	take *batches.Submissions
}

func newShop(t *testing.T) *shop {
	t.Helper()
	ctx, url := t.Context(), storetest.Database(t)
	db, err := store.Open(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	own := storetest.Pool(t, url)
	role := "shop_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	exec := func(sql string) {
		t.Helper()
		if _, err := own.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE ROLE ` + role + ` LOGIN PASSWORD 'shop'`)
	exec(`CREATE SCHEMA shop AUTHORIZATION ` + role)
	t.Cleanup(func() {
		_, err := own.Exec(context.WithoutCancel(ctx), `DROP OWNED BY `+role+` CASCADE; DROP ROLE `+role)
		if err != nil {
			t.Error(err)
		}
	})
	login, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	login.ConnConfig.User, login.ConnConfig.Password, login.MaxConns = role, "shop", 20
	pool, err := pgxpool.NewWithConfig(ctx, login)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := pool.Exec(ctx, `CREATE TABLE shop.orders (n int PRIMARY KEY, job uuid)`); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(storetest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	take := newSubmissions(WorkerOptions{Config: cfg, Store: db, Log: zerolog.Nop()}, jobs.NewProducer(db, jobs.NewDispatcher(client, db)))
	return &shop{t: t, db: db, pool: pool, own: own, take: take}
}

// grant lets the shop's role submit.
func (s *shop) grant() {
	s.t.Helper()
	if err := s.db.GrantRole(s.t.Context(), s.pool.Config().ConnConfig.User, "acme"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) submit(args ...any) (id string, err error) {
	err = s.pool.QueryRow(s.t.Context(), `SELECT oneflow.enqueue(`+strings.Join([]string{"$1", "$2", "$3"}[:len(args)], ", ")+`)`, args...).Scan(&id)
	return id, err
}

// one reads a value of the fleet's.
func one[T any](s *shop, sql string, args ...any) (v T) {
	s.t.Helper()
	if err := s.own.QueryRow(s.t.Context(), sql, args...).Scan(&v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

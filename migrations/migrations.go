// Package migrations holds the schema as embedded SQL and applies it with goose.
// It imports nothing of OneFlow.
package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

// Status is one migration and whether it was applied.
type Status struct {
	Version int64
	Name    string
	Applied bool
}

// Up applies what is missing and returns the versions it applied. Any number of
// processes may call it at once: one migrates, the others wait for it.
func Up(ctx context.Context, databaseURL string) (applied []int64, err error) {
	err = with(ctx, databaseURL, func(p *goose.Provider) error {
		results, err := p.Up(ctx)
		for _, r := range results {
			applied = append(applied, r.Source.Version)
		}
		return err
	})
	return applied, err
}

// Down takes the migrations after version back. At 0 every table and all data are
// gone.
func Down(ctx context.Context, databaseURL string, version int64) error {
	return with(ctx, databaseURL, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, version)
		return err
	})
}

// List returns all migrations in order, with their state in the database.
func List(ctx context.Context, databaseURL string) (list []Status, err error) {
	err = with(ctx, databaseURL, func(p *goose.Provider) error {
		all, err := p.Status(ctx)
		for _, s := range all {
			list = append(list, Status{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
		}
		return err
	})
	return list, err
}

// Latest is the version that this program needs.
func Latest() (int64, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil || len(names) == 0 {
		return 0, errors.Join(err, errors.New("migrations: none embedded"))
	}
	return goose.NumericComponent(names[len(names)-1])
}

// Hash identifies the whole set of migrations, in 16 hex digits.
func Hash() (string, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return "", fmt.Errorf("migrations: %w", err)
	}
	h := sha256.New()
	for _, name := range names {
		data, err := files.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("migrations: %w", err)
		}
		fmt.Fprintf(h, "%s\x00%d\x00%s", name, len(data), data)
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

func with(ctx context.Context, databaseURL string, do func(*goose.Provider) error) (err error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return errors.New("migrations: the database URL cannot be read; it looks like postgres://user:password@host:5432/name")
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // a pooler knows no prepared statements
	db := stdlib.OpenDB(*config)
	defer func() { err = errors.Join(err, db.Close()) }()
	schema, err := home(ctx, db)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	p, err := provider(db, schema)
	if err != nil {
		return err
	}
	if err := do(p); err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return nil
}

// home returns the schema of the tables: the first of the search path but for the one
// that a migration makes, which goes before it where the role that migrates is named
// oneflow, too: what has been applied would not be found then.
func home(ctx context.Context, db *sql.DB) (schema string, err error) {
	err = db.QueryRowContext(ctx, `
		SELECT coalesce((SELECT s FROM unnest(current_schemas(false)) WITH ORDINALITY AS p (s, n) WHERE s <> 'oneflow' ORDER BY n LIMIT 1), 'public')`).Scan(&schema)
	if err == nil && !regexp.MustCompile(`^[a-z_][a-z0-9_]*$`).MatchString(schema) {
		err = fmt.Errorf("the schema %q, the first of the search path: must have a name of small letters, digits and _", schema)
	}
	return schema, err
}

const (
	lockLease = 10 * time.Second
	lockProbe = 200 * time.Millisecond
	lockWait  = 5 * time.Minute
)

func provider(db *sql.DB, schema string) (*goose.Provider, error) {
	// A lock in a table works through a pooler in transaction mode, where a session's
	// lock would be left behind. A migrator that dies holds it for lockLease at most.
	locker, err := lock.NewPostgresTableLocker(
		lock.WithTableName(schema+".goose_lock"),
		lock.WithTableLeaseDuration(lockLease),
		lock.WithTableHeartbeatInterval(lockLease/5),
		lock.WithTableLockTimeout(lockProbe, uint64(lockWait/lockProbe)))
	if err != nil {
		return nil, fmt.Errorf("migrations: lock: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithLocker(locker),
		goose.WithTableName(schema+".goose_db_version"),
		goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return p, nil
}

//go:build chaos

package chaos

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/migrations"
)

// newestMigration is the file of the last one; ok is false while there is only
// the first, whose way down is the end of all data.
func newestMigration() (path string, ok bool) {
	files, err := filepath.Glob("../../migrations/*.sql")
	if err != nil || len(files) < 2 {
		return "", false
	}
	return files[len(files)-1], true
}

// migrateUnderLoad takes the newest migration back while jobs run, and applies it
// again: what needs it waits meanwhile.
func migrateUnderLoad(x *experiment) {
	path, _ := newestMigration()
	load(x, 4, 3000)
	data, err := os.ReadFile(path)
	if err != nil {
		x.t.Fatal(err)
	}
	_, down, ok := strings.Cut(string(data), "-- +goose Down\n")
	if !ok {
		x.t.Fatalf("%s has no way down", path)
	}
	for range 2 {
		x.hurt(0)
		if err := x.downgrade(down); err != nil {
			x.t.Fatal(err)
		}
		x.phase("the newest migration is taken back")
		x.pass(x.between(2*time.Second, 6*time.Second))
		if _, err := migrations.Up(x.t.Context(), x.pg.URL); err != nil {
			x.t.Fatal(err)
		}
		x.phase("and applied again")
		x.recovered(x.workFrom(time.Now()))
	}
}

func (x *experiment) downgrade(sql string) error {
	ctx := context.WithoutCancel(x.t.Context())
	conn, err := pgx.Connect(ctx, x.pg.URL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`)
		return err
	})
}

//go:build chaos

package chaos

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// upgrade is a migration as a release brings it: it adds a column, with an index, to the table that every call writes.
const upgrade = `
	ALTER TABLE calls ADD COLUMN chaos_note text NOT NULL DEFAULT '';
	CREATE INDEX chaos_note ON calls (chaos_note)`

// downgrade takes it back.
const downgrade = `
	DROP INDEX chaos_note;
	ALTER TABLE calls DROP COLUMN chaos_note`

// newestMigration is the ways up and down of the last one. While there is only the first, whose way down is the end of all
// data, it is one of ours.
func newestMigration(x *experiment) (up, down string) {
	x.t.Helper()
	files, err := filepath.Glob("../../migrations/*.sql")
	if err != nil {
		x.t.Fatal(err)
	}
	if len(files) < 2 {
		x.migrate(upgrade)
		return upgrade, downgrade
	}
	data, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		x.t.Fatal(err)
	}
	up, down, ok := strings.Cut(string(data), "-- +goose Down\n")
	if !ok {
		x.t.Fatalf("%s has no way down", files[len(files)-1])
	}
	return up, down
}

// migrateUnderLoad takes the newest migration back while jobs run, and applies it
// again: what needs it waits meanwhile.
func migrateUnderLoad(x *experiment) {
	up, down := newestMigration(x)
	load(x, 4, 3000)
	for range 2 {
		x.hurt(0)
		x.migrate(down)
		x.phase("the newest migration is taken back")
		x.pass(x.between(2*time.Second, 6*time.Second))
		x.migrate(up)
		x.phase("and applied again")
		x.recovered(x.workFrom(time.Now()))
	}
}

// migrate runs statements in one transaction, as a migration does.
func (x *experiment) migrate(sql string) {
	x.t.Helper()
	ctx := context.WithoutCancel(x.t.Context())
	conn, err := pgx.Connect(ctx, x.DatabaseURL)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	})
	if err != nil {
		x.t.Fatal(err)
	}
}

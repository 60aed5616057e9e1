//go:build chaos

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// disk is a file system for the tables of Postgres, and can be full.
type disk struct{ fill, free func() }

// diskSize has room for the jobs of a scenario.
const diskSize = 96 << 20

// newDisk moves the database to a small disk of its own, where this process may
// mount one: only the log of writes stays elsewhere. Where it may not, a trigger
// refuses what a full disk would.
func newDisk(x *experiment) *disk {
	x.t.Helper()
	// Not in the test's own folder, which Postgres' account cannot reach.
	folder, err := os.MkdirTemp("", "oneflow-chaos-disk-")
	if err != nil {
		x.t.Fatal(err)
	}
	if err := mountSmall(folder); err != nil {
		x.t.Logf("no disk can be mounted here (%v): a trigger stands for it", err)
		_ = os.Remove(folder)
		return newTrigger(x)
	}
	x.t.Cleanup(func() {
		if err := errors.Join(unmount(folder), os.Remove(folder)); err != nil {
			x.t.Error(err)
		}
	})
	tables := filepath.Join(folder, "tables")
	owner, err := os.Stat(clusterOf(x))
	if err == nil {
		err = os.Mkdir(tables, 0o700)
	}
	if err == nil {
		err = os.Chmod(folder, 0o711)
	}
	if stat, ok := owner.Sys().(*syscall.Stat_t); ok && err == nil {
		err = os.Chown(tables, int(stat.Uid), int(stat.Gid))
	}
	if err != nil {
		x.t.Fatal(err)
	}
	x.sqlAt("postgres", `CREATE TABLESPACE small LOCATION '`+tables+`'`, `ALTER DATABASE oneflow SET TABLESPACE small`)
	filler := filepath.Join(folder, "filler")
	return &disk{
		fill: func() {
			f, err := os.Create(filler)
			if err != nil {
				x.t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			page := make([]byte, 4096)
			for err == nil {
				_, err = f.Write(page)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				x.t.Fatalf("fill the disk: %v", err)
			}
		},
		free: func() {
			if err := os.Remove(filler); err != nil {
				x.t.Fatal(err)
			}
		},
	}
}

// newTrigger refuses writes to all tables, as Postgres does on a full disk.
func newTrigger(x *experiment) *disk {
	x.sqlAt("oneflow",
		`CREATE TABLE full_disk (since timestamptz NOT NULL)`,
		`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF EXISTS (SELECT FROM full_disk) THEN
				RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
			END IF;
			RETURN NULL;
		END $$`,
		`DO $$
		DECLARE t regclass;
		BEGIN
			FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'full_disk' LOOP
				EXECUTE format('CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %s EXECUTE FUNCTION full_disk()', t);
			END LOOP;
		END $$`)
	return &disk{
		fill: func() { x.sqlAt("oneflow", `INSERT INTO full_disk VALUES (now())`) },
		free: func() { x.sqlAt("oneflow", `DELETE FROM full_disk`) },
	}
}

// sqlAt runs statements in a database of the experiment's Postgres.
func (x *experiment) sqlAt(database string, statements ...string) {
	x.t.Helper()
	ctx := context.WithoutCancel(x.t.Context())
	cfg, err := pgx.ParseConfig(x.pg.URL)
	if err != nil {
		x.t.Fatal(err)
	}
	cfg.Database = database
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			x.t.Fatal(fmt.Errorf("%s: %w", strings.Join(strings.Fields(sql)[:2], " "), err))
		}
	}
}

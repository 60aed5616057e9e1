package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/internal/devstack"
	"oneflow/migrations"
)

const (
	templatePrefix = "oneflow_template_" // and the hash of the migrations
	halfMadePrefix = "oneflow_halfmade_" // and anything: only a template that is whole gets its name
	clonePrefix    = "oneflow_test_"     // and the Unix time in hex, "_", and anything
	cloneLifetime  = 24 * time.Hour      // a clone that is older belongs to a process that was killed

	// makingTemplates is the advisory lock that test processes take to make a template, one at a time.
	makingTemplates = 0x6f6e65666c6f77
)

// databases clones one migrated template.
type databases struct {
	admin    string // URL of a database from which others are made
	template string
	strategy string // clause of CREATE DATABASE, or ""
}

// newDatabases makes the template where no process has made it before.
func newDatabases(ctx context.Context, stack *devstack.Stack) (*databases, error) {
	hash, err := migrations.Hash()
	if err != nil {
		return nil, err
	}
	d := &databases{admin: stack.DatabaseURL, template: templatePrefix + hash}
	err = d.withAdmin(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(makingTemplates)); err != nil { // until the connection ends
			return fmt.Errorf("wait for other test processes: %w", err)
		}
		if stack.OwnPostgres {
			d.strategy, err = quickest(ctx, conn)
			if err != nil {
				return err
			}
		} else if err := sweep(ctx, conn); err != nil {
			return err
		}
		return d.makeTemplate(ctx, conn)
	})
	return d, err
}

// quickest returns the strategy by which our own server clones: copying files takes 19 to 31 ms with the removal, writing through the log 35 to
// 46 ms. A given server keeps its default, since the checkpoints of a copy are a burden to its other users. Before
// version 15 there was only copying, and no word for it.
func quickest(ctx context.Context, conn *pgx.Conn) (string, error) {
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return "", fmt.Errorf("ask Postgres for its version: %w", err)
	}
	if version < 150000 {
		return "", nil
	}
	return " STRATEGY file_copy", nil
}

// makeTemplate migrates a database under another name and renames it when it is whole. The caller holds the lock.
func (d *databases) makeTemplate(ctx context.Context, conn *pgx.Conn) error {
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, d.template).Scan(&there); err != nil {
		return fmt.Errorf("look for the template %s: %w", d.template, err)
	}
	if there {
		return nil
	}
	half := halfMadePrefix + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+quote(half)+` TEMPLATE template0`); err != nil {
		return fmt.Errorf("make a database for tests: %w; the role of DATABASE_URL needs CREATEDB (ALTER ROLE … CREATEDB)", err)
	}
	halfURL, err := withDatabase(d.admin, half)
	if err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, halfURL); err != nil {
		_, dropErr := conn.Exec(ctx, `DROP DATABASE `+quote(half)+` WITH (FORCE)`)
		return errors.Join(fmt.Errorf("migrate the template for tests: %w", err), dropErr)
	}
	for _, sql := range []string{
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '` + half + `'`, // the migrations' last connection may still be closing
		`ALTER DATABASE ` + quote(half) + ` ALLOW_CONNECTIONS false`,
		`ALTER DATABASE ` + quote(half) + ` RENAME TO ` + quote(d.template),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("finish the template %s: %w", d.template, err)
		}
	}
	return nil
}

// sweep drops what killed test processes left on a server that outlives them: half-made templates, which nobody makes
// now since we hold the lock, and clones of yesterday that nobody is connected to.
func sweep(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
		SELECT datname
		FROM pg_database AS d
		WHERE (starts_with(datname, $1) OR starts_with(datname, $2))
		AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = d.datname)`, halfMadePrefix, clonePrefix)
	if err != nil {
		return fmt.Errorf("look for left databases: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for left databases: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, clonePrefix) && time.Since(madeAt(name)) < cloneLifetime {
			continue
		}
		if _, err := conn.Exec(ctx, `DROP DATABASE IF EXISTS `+quote(name)); err != nil {
			return fmt.Errorf("drop %s, left by a killed test: %w", name, err)
		}
	}
	return nil
}

// madeAt reads the time in a clone's name; a name without one is taken for new.
func madeAt(clone string) time.Time {
	stamp, _, _ := strings.Cut(strings.TrimPrefix(clone, clonePrefix), "_")
	seconds, err := strconv.ParseInt(stamp, 16, 64)
	if err != nil {
		return time.Now()
	}
	return time.Unix(seconds, 0)
}

// clone copies the template into a new database.
func (d *databases) clone(ctx context.Context) (name, url string, err error) {
	name = clonePrefix + strconv.FormatInt(time.Now().Unix(), 16) + "_" + strings.ToLower(rand.Text())[:12]
	err = d.withAdmin(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `CREATE DATABASE `+quote(name)+` TEMPLATE `+quote(d.template)+d.strategy); err != nil {
			return fmt.Errorf("clone the database of a test from %s: %w", d.template, err)
		}
		return nil
	})
	if err != nil {
		return "", "", err
	}
	url, err = withDatabase(d.admin, name)
	return name, url, err
}

// drop removes a clone, whoever is connected.
func (d *databases) drop(ctx context.Context, name string) error {
	return d.withAdmin(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, `DROP DATABASE IF EXISTS `+quote(name)+` WITH (FORCE)`); err != nil {
			return fmt.Errorf("drop the database of a test: %w", err)
		}
		return nil
	})
}

// withAdmin connects for one piece of work: a pool would keep goroutines that tests take for leaks of theirs.
func (d *databases) withAdmin(ctx context.Context, work func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, d.admin)
	if err != nil {
		return fmt.Errorf("connect to make a database for tests: %w", err)
	}
	return errors.Join(work(conn), conn.Close(context.WithoutCancel(ctx)))
}

// withDatabase is the same server, another database. Both forms of Postgres' connection strings are understood.
func withDatabase(raw, name string) (string, error) {
	if !strings.HasPrefix(raw, "postgres://") && !strings.HasPrefix(raw, "postgresql://") {
		return raw + " dbname=" + name, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("DATABASE_URL is no URL: want postgres://user:password@host:port/database")
	}
	u.Path = "/" + name
	return u.String(), nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

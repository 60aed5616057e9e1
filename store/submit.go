package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"oneflow/batches"
	"oneflow/jobs"
)

var _ batches.SubmissionStore = (*Store)(nil)

// Submissions implements batches.SubmissionStore.
func (s *Store) Submissions(ctx context.Context, limit int) ([]batches.Submission, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, account, task, request
		FROM oneflow.submissions
		WHERE ended_at IS NULL
		ORDER BY submitted_at
		LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (sub batches.Submission, err error) {
		return sub, row.Scan(&sub.ID, &sub.Account, &sub.Task, &sub.Request)
	})
}

// EndSubmissions implements batches.SubmissionStore.
func (s *Store) EndSubmissions(ctx context.Context, ended []uuid.UUID) error {
	return s.begin(ctx, func(tx pgx.Tx) error { return endSubmissions(ctx, tx, ended) })
}

func endSubmissions(ctx context.Context, tx pgx.Tx, ended []uuid.UUID) error {
	if _, err := tx.Exec(ctx, `DELETE FROM oneflow.submissions WHERE id = ANY ($1) AND idempotency_key IS NULL`, ended); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		UPDATE oneflow.submissions SET ended_at = now(), request = NULL
		WHERE id = ANY ($1) AND ended_at IS NULL`, ended)
	return err
}

// RefuseSubmission implements batches.SubmissionStore.
func (s *Store) RefuseSubmission(ctx context.Context, sub batches.Submission, why string) error {
	err := s.begin(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO jobs (id, key, content_sha256, account, task, provider, request)
			SELECT id, 's:' || id, content_sha256, account, task, '', json_build_object('task', task)
			FROM oneflow.submissions
			WHERE id = $1
			ON CONFLICT DO NOTHING`, sub.ID)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO job_states (job_id, state, deadline, finished_at, error_class, error_message)
			SELECT id, 'failed', now(), now(), 'refused', $2
			FROM oneflow.submissions
			WHERE id = $1
			ON CONFLICT DO NOTHING`, sub.ID, sanitise(why))
		if err != nil {
			return err
		}
		return endSubmissions(ctx, tx, []uuid.UUID{sub.ID})
	})
	if err != nil {
		return fmt.Errorf("refuse submission %s: %w", sub.ID, err)
	}
	signal(s.ended)
	return nil
}

// ForgetSubmissions forgets the idempotency keys of jobs that were accepted longer than
// age ago.
func (s *Store) ForgetSubmissions(ctx context.Context, age time.Duration) error {
	_, err := s.pool.Exec(ctx, `
		DELETE FROM oneflow.submissions
		WHERE id IN (SELECT id FROM oneflow.submissions WHERE ended_at < now() - make_interval(secs => $1) ORDER BY ended_at LIMIT $2)`,
		age.Seconds(), manyJobs)
	return err
}

// Role is a database role that may submit jobs, and for whom.
type Role struct {
	Role      string    `json:"role"`
	Account   string    `json:"account"`
	GrantedAt time.Time `json:"granted_at"`
}

// ErrNoRole is returned where a role is to be let in that the database does not have.
var ErrNoRole = errors.New("the database has no such role")

func hasRole(ctx context.Context, tx pgx.Tx, role string) (there bool, err error) {
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, role).Scan(&there)
	return there, err
}

// GrantRole lets a database role submit jobs for an account, by oneflow.enqueue, and read what
// came of the account's jobs, by oneflow.result. It gets no other right. It fails with ErrNoRole.
func (s *Store) GrantRole(ctx context.Context, role, account string) error {
	return s.begin(ctx, func(tx pgx.Tx) error {
		name := pgx.Identifier{role}.Sanitize()
		there, err := hasRole(ctx, tx, role)
		switch {
		case err != nil:
			return err
		case !there:
			return fmt.Errorf("role %s: %w; it is made in the database, as by CREATE ROLE %s LOGIN PASSWORD '…'", role, ErrNoRole, name)
		}
		for _, sql := range []string{`GRANT USAGE ON SCHEMA oneflow TO ` + name, `GRANT EXECUTE ON FUNCTION oneflow.enqueue, oneflow.result TO ` + name} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("grant role %s: %w", role, err)
			}
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO oneflow.roles (role, account) VALUES ($1, $2)
			ON CONFLICT (role) DO UPDATE SET account = excluded.account, granted_at = now()`, role, account)
		return err
	})
}

// RevokeRole takes that right back. It fails with jobs.ErrNotFound where the role does not
// have it.
func (s *Store) RevokeRole(ctx context.Context, role string) error {
	return s.begin(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM oneflow.roles WHERE role = $1`, role)
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 0:
			return fmt.Errorf("role %s: %w", role, jobs.ErrNotFound)
		}
		if there, err := hasRole(ctx, tx, role); err != nil || !there {
			return err
		}
		name := pgx.Identifier{role}.Sanitize()
		if _, err := tx.Exec(ctx, `REVOKE ALL ON FUNCTION oneflow.enqueue, oneflow.result FROM `+name); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `REVOKE ALL ON SCHEMA oneflow FROM `+name)
		return err
	})
}

// Roles lists the roles that may submit jobs.
func (s *Store) Roles(ctx context.Context) ([]Role, error) {
	rows, err := s.pool.Query(ctx, `SELECT role, account, granted_at FROM oneflow.roles ORDER BY role`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Role])
}

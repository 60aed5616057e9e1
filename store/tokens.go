package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"oneflow/access"
)

var _ access.Store = (*Store)(nil)

const tokenColumns = `prefix, name, scope, account, created_by, created_at, expires_at, last_used_at, revoked_at, revoked_by`

func tokenRow(row pgx.CollectableRow) (t access.Token, err error) {
	var expires, used, revoked *time.Time
	err = row.Scan(&t.Prefix, &t.Name, &t.Scope, &t.Account, &t.CreatedBy, &t.CreatedAt, &expires, &used, &revoked, &t.RevokedBy)
	t.ExpiresAt, t.LastUsedAt, t.RevokedAt = timeOrZero(expires), timeOrZero(used), timeOrZero(revoked)
	return t, err
}

// AddToken stores a token, of which it gets the hash only, and records that.
func (s *Store) AddToken(ctx context.Context, t access.Token, hash [sha256.Size]byte) error {
	err := s.begin(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO api_tokens (prefix, sha256, name, scope, account, created_by, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (prefix) DO NOTHING`, t.Prefix, hash[:], t.Name, t.Scope, t.Account, t.CreatedBy, timeOrNull(t.ExpiresAt))
		if err == nil {
			_, err = tx.Exec(ctx, beginActionSQL, t.CreatedBy, t.Account, "", "token create", t.Prefix)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("store token %s: %w", t.Prefix, err)
	}
	return nil
}

// RevokeToken makes a token useless from now on, and records that. It fails with
// access.ErrUnknownToken.
func (s *Store) RevokeToken(ctx context.Context, prefix, by string) error {
	err := s.begin(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE api_tokens SET revoked_at = now(), revoked_by = $2
			WHERE prefix = $1 AND revoked_at IS NULL`, prefix, by)
		if err == nil && tag.RowsAffected() == 0 {
			return access.ErrUnknownToken
		}
		if err == nil {
			_, err = tx.Exec(ctx, beginActionSQL, by, "", "", "token revoke", prefix)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("revoke token %.60q: %w", prefix, err)
	}
	return nil
}

// Tokens lists all tokens, the newest first.
func (s *Store) Tokens(ctx context.Context) ([]access.Token, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+tokenColumns+` FROM api_tokens ORDER BY created_at DESC, prefix`)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	list, err := pgx.CollectRows(rows, tokenRow)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return list, nil
}

// HasTokens implements access.Store.
func (s *Store) HasTokens(ctx context.Context) (has bool, err error) {
	if err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM api_tokens)`).Scan(&has); err != nil {
		return false, fmt.Errorf("look for tokens: %w", err)
	}
	return has, nil
}

// FindToken implements access.Store.
func (s *Store) FindToken(ctx context.Context, prefix string) (t access.Token, hash [sha256.Size]byte, err error) {
	var sum []byte
	var expires, used, revoked *time.Time
	err = s.pool.QueryRow(ctx, `SELECT sha256, `+tokenColumns+` FROM api_tokens WHERE prefix = $1`, prefix).
		Scan(&sum, &t.Prefix, &t.Name, &t.Scope, &t.Account, &t.CreatedBy, &t.CreatedAt, &expires, &used, &revoked, &t.RevokedBy)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, hash, access.ErrUnknownToken
	}
	if err != nil {
		return t, hash, fmt.Errorf("read a token: %w", err)
	}
	t.ExpiresAt, t.LastUsedAt, t.RevokedAt = timeOrZero(expires), timeOrZero(used), timeOrZero(revoked)
	return t, [sha256.Size]byte(sum), nil
}

// TokenUsed implements access.Store.
func (s *Store) TokenUsed(ctx context.Context, prefix string) error {
	_, err := s.pool.Exec(ctx, `UPDATE api_tokens SET last_used_at = now() WHERE prefix = $1`, prefix)
	if err != nil {
		return fmt.Errorf("note the use of token %s: %w", prefix, err)
	}
	return nil
}

const beginActionSQL = `
	INSERT INTO audit_log (actor, account, client, what, object)
	VALUES ($1, $2, $3, $4, $5)
	RETURNING id`

// BeginAction implements access.Store.
func (s *Store) BeginAction(ctx context.Context, a access.Action) (id int64, err error) {
	err = s.pool.QueryRow(ctx, beginActionSQL, a.Actor, a.Account, a.From, a.What, a.Object).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("record %s of %s: %w", a.What, a.Actor, err)
	}
	return id, nil
}

// EndAction implements access.Store.
func (s *Store) EndAction(ctx context.Context, id int64, status int) error {
	if _, err := s.pool.Exec(ctx, `UPDATE audit_log SET status = $2 WHERE id = $1`, id, status); err != nil {
		return fmt.Errorf("record the answer to action %d: %w", id, err)
	}
	return nil
}

// Actions lists what was done before an id, the newest first; before 0: all.
func (s *Store) Actions(ctx context.Context, before int64, limit int) (list []access.Action, err error) {
	rows, err := s.pool.Query(ctx, `
		SELECT id, at, actor, account, client, what, object, status
		FROM audit_log
		WHERE $1 = 0 OR id < $1
		ORDER BY id DESC
		LIMIT $2`, before, limit)
	if err == nil {
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[access.Action])
	}
	if err != nil {
		return nil, fmt.Errorf("list actions: %w", err)
	}
	return list, nil
}

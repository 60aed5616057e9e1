package monitor

import (
	"context"
	"errors"
	"net"
)

// Run serves a monitor on a listener that is bound already until ctx ends, and
// closes both. It fails with ErrExposed.
func Run(ctx context.Context, cfg Config, l net.Listener) (err error) {
	m, err := New(cfg)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return m.Serve(ctx, l)
}

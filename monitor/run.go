package monitor

import (
	"context"
	"errors"
	"net"
)

// Run serves a monitor on a listener that is bound already until ctx ends, and
// closes both. It fails with ErrExposed.
func Run(ctx context.Context, cfg Config, l net.Listener) (err error) {
	m, err := newMonitor(cfg)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, m.close()) }()
	if cfg.FrontDoor != nil {
		// It goes on until the last request has ended.
		life, stop := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() { defer close(done); cfg.FrontDoor.Run(life) }()
		defer func() { stop(); <-done }()
	}
	return m.serve(ctx, l)
}

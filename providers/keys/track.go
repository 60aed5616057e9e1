package keys

import (
	"context"
	"sync/atomic"
)

// usedKey is the key of Used in a context.
type usedKey struct{}

// Used notes which key a call used, so that the one that was refused can be
// paused, and not another that was picked meanwhile.
type Used struct{ last atomic.Pointer[hidden] }

// Track returns a context in which a Source notes the key that it picks.
func Track(ctx context.Context) (context.Context, *Used) {
	u := &Used{}
	return context.WithValue(ctx, usedKey{}, u), u
}

// Key returns the key that was picked last, or the zero Key if none was.
func (u *Used) Key() Key { return Key{u.last.Load()} }

func (u *Used) set(k Key) { u.last.Store(k.h) }

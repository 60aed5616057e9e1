package monitor

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	// maxStreams bounds the streams that are open at once: pages beyond them ask by themselves.
	maxStreams = 200
	// changeEvery is the least time between two events, and changeWithin the longest: what no
	// hint tells of, such as a worker that falls silent, is seen within it.
	changeEvery  = time.Second
	changeWithin = 3 * time.Second
	// streamFor is the time after which a stream ends, so that its token is looked at again:
	// the browser comes back by itself.
	streamFor = 10 * time.Minute
)

// events tells streams that something has changed: all of them share what is heard of it.
type events struct {
	// hints returns a channel that gets a value soon after jobs have ended, until its context
	// ends; nil: there are none.
	hints func(context.Context) <-chan struct{}

	mu sync.Mutex
	// streams holds a channel of room for one for each stream.
	streams map[chan struct{}]struct{}
	// stop ends the loop, which runs as long as there are streams; closed tells that there may
	// be no more.
	stop   context.CancelFunc
	closed bool
	loop   sync.WaitGroup
}

func newEvents(hints func(context.Context) <-chan struct{}) *events {
	return &events{hints: hints, streams: map[chan struct{}]struct{}{}}
}

// subscribe returns a channel that gets a value when something has changed, and is closed when
// the monitor stops; ok is false where there are too many. The caller leaves.
func (e *events) subscribe() (changed chan struct{}, leave func(), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.streams) >= maxStreams {
		return nil, nil, false
	}
	changed = make(chan struct{}, 1)
	e.streams[changed] = struct{}{}
	if e.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		e.stop = stop
		e.loop.Go(func() { e.tell(ctx) })
	}
	return changed, func() { e.leave(changed) }, true
}

func (e *events) leave(changed chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.streams, changed)
	if len(e.streams) == 0 && e.stop != nil {
		e.stop()
		e.stop = nil
	}
}

// end ends all streams: there will be none any more.
func (e *events) end() {
	e.mu.Lock()
	e.closed = true
	for changed := range e.streams {
		close(changed)
	}
	clear(e.streams)
	if e.stop != nil {
		e.stop()
		e.stop = nil
	}
	e.mu.Unlock()
	e.loop.Wait()
}

// tell tells all streams that something has changed, after a hint or in any case after a
// while, until ctx ends.
func (e *events) tell(ctx context.Context) {
	var hints <-chan struct{}
	if e.hints != nil {
		hints = e.hints(ctx)
	}
	for {
		late := time.NewTimer(changeWithin)
		select {
		case <-ctx.Done():
		case <-hints:
		case <-late.C:
		}
		late.Stop()
		if ctx.Err() != nil {
			return
		}
		e.mu.Lock()
		for changed := range e.streams {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
		e.mu.Unlock()
		pause := time.NewTimer(changeEvery)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// stream sends texts of a stream of events: a first one, and another after each change; an
// empty one only keeps the connection alive. It fails, with nothing sent, where the first text
// does, and with errTooMany.
func (e *events) stream(w http.ResponseWriter, r *http.Request, text func(first bool) (string, error)) error {
	changed, leave, ok := e.subscribe() //nolint:contextcheck // what listens outlives the stream that began it
	if !ok {
		return errTooMany
	}
	defer leave()
	next, err := text(true)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	conn := http.NewResponseController(w)
	over := time.NewTimer(streamFor)
	defer over.Stop()
	for {
		if next == "" {
			next = ": \n\n"
		}
		if _, err := w.Write([]byte(next)); err != nil || conn.Flush() != nil {
			return nil // the client has gone
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-over.C:
			return nil
		case _, goesOn := <-changed:
			if !goesOn {
				return nil
			}
		}
		// While nobody can say what has changed, nothing is told.
		if next, err = text(false); err != nil {
			next = ""
		}
	}
}

// errTooMany is returned where too many streams are open.
var errTooMany = errors.New("too many read events at once")

// serve sends an event without content whenever something has changed: what it is, the client
// reads where it may.
func (e *events) serve(w http.ResponseWriter, r *http.Request) {
	err := e.stream(w, r, func(first bool) (string, error) {
		if first {
			return "retry: 2000\n\n", nil
		}
		return "event: change\ndata: " + time.Now().UTC().Format(time.RFC3339) + "\n\n", nil
	})
	if err != nil {
		w.Header().Set("Retry-After", "10")
		text(w, http.StatusServiceUnavailable, err.Error())
	}
}

package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"oneflow/billing"
	"oneflow/internal/failpoint"
	"oneflow/internal/sleep"
	"oneflow/jobs"
	"oneflow/providers"
)

// sendMarks say of each call that is in the ledger, or about to be, whether it may have
// been sent: a file per worker with a place for each call that is open. A call is marked
// before its row is written, and again before it is sent. Of a worker that was killed,
// the next to use the folder settles as not billed what was not marked again: it was
// provably not sent, and would else be charged as of unknown outcome.
//
// Nothing is written to the disk at once: what a process has written outlives it, but not
// its machine. So marks count only until that is started again, by the id that Linux has for
// that; elsewhere there are none. Without marks, all is as unknown as it was.
type sendMarks struct {
	dir    string // empty: there are none
	worker uuid.UUID
	log    zerolog.Logger

	mu     sync.Mutex
	file   *os.File // at path, whatever it was called when it was made
	path   string
	failed bool // there are none any more
	free   []int64
	places int64
}

const (
	marksSuffix = ".calls"
	// marksEvery is the interval at which a worker looks for what others have left: well
	// before their jobs are taken over.
	marksEvery = 5 * time.Second
	bootFile   = "/proc/sys/kernel/random/boot_id"
	bootSize   = 36
	// markSize is that of a place: a call, and what is known of it.
	markSize = 17
	// noPlace is that of a call without a mark; others begin at 1.
	noPlace = 0
)

// What is known of a call.
const (
	markOver   = 0
	markOpen   = 'o' // not sent
	markSent   = 's' // perhaps
	lengthOfID = markSize - 1
)

func newSendMarks(dir string, worker uuid.UUID, log zerolog.Logger) *sendMarks {
	if dir != "" {
		dir = filepath.Join(dir, "spool")
	}
	return &sendMarks{dir: dir, worker: worker, log: log}
}

// begin writes a call into the ledger, marked before it and after it, and returns the place of
// its mark.
func (m *sendMarks) begin(ctx context.Context, store WorkStore, c jobs.Call) (place int64, err error) {
	place = m.open(c.CallID)
	if err := store.BeginCall(ctx, m.worker, c); err != nil {
		m.refused(place)
		return noPlace, err
	}
	if c.Gen > 0 { // its job was claimed with it
		failpoint.Hit("claimed", c.Model)
	}
	failpoint.Hit("begun", c.Model)
	m.sent(place)
	return place, nil
}

// open marks a call that is about to be written into the ledger, and returns its place.
func (m *sendMarks) open(call uuid.UUID) (place int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir == "" || m.failed {
		return noPlace
	}
	if m.file == nil {
		if err := m.create(); err != nil {
			m.giveUp(err)
			return noPlace
		}
	}
	if n := len(m.free); n > 0 {
		place, m.free = m.free[n-1], m.free[:n-1]
	} else {
		m.places++
		place = m.places
	}
	if !m.write(place, append(call[:], markOpen)) {
		return noPlace
	}
	return place
}

// sent marks the call at a place as one that may be sent from now on.
func (m *sendMarks) sent(place int64) { m.change(place, markSent) }

// refused takes the mark of a call away that the ledger does not take, and gives its place
// back.
func (m *sendMarks) refused(place int64) {
	m.change(place, markOver)
	m.over(place)
}

// over gives the place of a call that was sent back. The mark stays until the place is
// used again: nobody asks for a call that may have been sent.
func (m *sendMarks) over(place int64) {
	if place == noPlace {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = append(m.free, place)
}

func (m *sendMarks) change(place int64, mark byte) {
	if place == noPlace {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed || m.file == nil {
		return
	}
	if _, err := m.file.WriteAt([]byte{mark}, at(place)+lengthOfID); err != nil {
		m.giveUp(err)
	}
}

// at returns the offset at which a place begins in the file.
func at(place int64) int64 { return bootSize + (place-1)*markSize }

// write writes a place, and reports whether it did. The caller holds mu.
func (m *sendMarks) write(place int64, mark []byte) bool {
	if _, err := m.file.WriteAt(mark, at(place)); err != nil {
		m.giveUp(err)
		return false
	}
	return true
}

// giveUp removes the file: what it says of calls is not to be believed. The caller holds
// mu.
func (m *sendMarks) giveUp(err error) {
	if m.failed = true; m.file != nil {
		// One that cannot be removed is emptied: what follows is not marked.
		err = errors.Join(err, m.file.Truncate(0), os.Remove(m.path), m.file.Close())
		m.file = nil
	}
	m.log.Info().Err(err).Msg("calls are not marked before they are sent: those of a worker that is killed are of unknown outcome")
}

// create makes the file, locked for as long as this process lives. The caller holds mu.
func (m *sendMarks) create() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(m.dir, m.worker.String()+marksSuffix)
	hidden := filepath.Join(m.dir, "."+m.worker.String()+marksSuffix+".new")
	f, err := os.OpenFile(hidden, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600) //nolint:gosec // a name of ours in a folder of ours
	if err != nil {
		return err
	}
	var held bool
	if held, err = lockFile(f); held {
		err = errors.New("it is locked")
	}
	if err == nil {
		_, err = f.Write(boot)
	}
	if err == nil {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(hidden))
	}
	m.file, m.path = f, path
	return nil
}

// bootID is another after each start of the machine.
func bootID() ([]byte, error) {
	data, err := os.ReadFile(bootFile)
	if err != nil {
		return nil, err
	}
	if data = bytes.TrimSpace(data); len(data) != bootSize {
		return nil, errors.New(bootFile + " is of another length than it was")
	}
	return data, nil
}

// close ends the marks of a worker that has no open call any more.
func (m *sendMarks) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed = true; m.file == nil {
		return
	}
	if err := errors.Join(os.Remove(m.path), m.file.Close()); err != nil {
		m.log.Warn().Err(err).Msg("file of open calls not removed: the next worker does")
	}
	m.file = nil
}

// watch settles now and then what workers have left that were killed, until ctx ends.
func (m *sendMarks) watch(ctx context.Context, store WorkStore) {
	for {
		m.recover(ctx, store)
		if sleep.For(ctx, marksEvery) != nil {
			return
		}
	}
}

// recover settles what others have provably not sent.
func (m *sendMarks) recover(ctx context.Context, store WorkStore) {
	orphaned := orphanedFiles{m.dir, marksSuffix, m.worker, m.log}
	orphaned.recover(ctx, "calls of a worker that was killed are not settled: tried again", func(f *os.File) error {
		return m.settleUnsent(ctx, store, f)
	})
}

// settleUnsent settles what the worker of a file has not sent.
func (m *sendMarks) settleUnsent(ctx context.Context, store WorkStore, f *os.File) error {
	data, err := io.ReadAll(io.LimitReader(f, maxMarks))
	if err != nil {
		return err
	}
	unsent := notSent(data)
	committing, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	known, err := store.Known(committing, unsent)
	if err != nil {
		return err
	}
	for _, call := range known {
		err := store.SettleCall(committing, jobs.Settlement{
			CallID: call, Outcome: jobs.CallFailedUnbilled, Cost: new(billing.NanoUSD), Kind: providers.NotAsked,
			Message: "the worker died before this call was sent",
		})
		if err != nil {
			return err
		}
	}
	if len(known) > 0 {
		m.log.Warn().Str("file", f.Name()).Int("calls", len(known)).Msg("settled as not billed what a worker that died had not sent")
	}
	return nil
}

// maxMarks bounds what is read of a file: a million calls at once.
const maxMarks = bootSize + markSize<<20

// notSent returns the calls that a file says were not sent; none where the machine was
// started since it was written.
func notSent(data []byte) (calls []uuid.UUID) {
	boot, err := bootID()
	if err != nil || len(data) < bootSize || !bytes.Equal(data[:bootSize], boot) {
		return nil
	}
	for mark := range slices.Chunk(data[bootSize:], markSize) {
		if len(mark) == markSize && mark[lengthOfID] == markOpen {
			calls = append(calls, uuid.UUID(mark[:lengthOfID]))
		}
	}
	return calls
}

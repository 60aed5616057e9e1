package worker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"oneflow/internal/sleep"
	"oneflow/jobs"
)

// spool takes what a worker that must leave while Postgres is away has
// paid for: a file per worker, which the next worker to use the folder commits.
//
// A line is one outcome, with its hash, and is on the disk before its handler
// goes on: a worker that is killed meanwhile loses no more than the line it was
// writing. The file is locked by its worker for as long as that lives, and by
// whoever commits it; it is renamed into its place only under the lock. Committing
// is idempotent, so that nothing is lost or charged twice whenever that is
// interrupted. What cannot be committed is kept in a file beside it.
type spool struct {
	dir    string // empty: there is none
	worker uuid.UUID
	log    zerolog.Logger

	mu   sync.Mutex
	file spoolFile
	size int64 // of the whole lines in it
	// closed reports whether the file may be another's by now.
	closed bool
}

// spoolFile has the methods that the spool needs of an *os.File; a test may have one whose
// disk is full.
type spoolFile interface {
	io.Writer
	io.Closer
	Sync() error
	Truncate(size int64) error
}

const (
	spoolVersion = 1
	spoolSuffix  = ".spool"
	asideSuffix  = ".bad"
	// maxSpoolLine is far above any answer that a client takes.
	maxSpoolLine = 1 << 30
	// spoolEvery is the interval at which a worker looks for what others have left.
	spoolEvery = time.Minute
	// commitTimeout is the time that one outcome may take to be committed before
	// Postgres counts as away again.
	commitTimeout = 30 * time.Second
)

// spooled is one outcome: of a call that brought an answer, or of one that did not.
type spooled struct {
	Answer     *jobs.Success    `json:"answer,omitempty"`
	Settlement *jobs.Settlement `json:"settlement,omitempty"`
}

// call is the call whose outcome it is.
func (s spooled) call() uuid.UUID {
	if s.Answer != nil {
		return s.Answer.Settlement.CallID
	}
	return s.Settlement.CallID
}

// spoolLine is the form in which a spooled is written.
type spoolLine struct {
	Version int             `json:"v"`
	SHA256  string          `json:"sha256"`
	Body    json.RawMessage `json:"body"`
}

// errNoSpool is for a worker that has no folder for it, or has left.
var errNoSpool = errors.New("there is no spool to keep it in")

func newSpool(dir string, worker uuid.UUID, log zerolog.Logger) *spool {
	if dir != "" {
		dir = filepath.Join(dir, "spool")
	}
	return &spool{dir: dir, worker: worker, log: log}
}

// keep writes an outcome to the disk. It may be called again after an error: a
// line is there as a whole or not at all.
func (s *spool) keep(e spooled) error {
	if s.dir == "" {
		return errNoSpool
	}
	line, err := encodeSpooled(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errNoSpool
	}
	if s.file == nil {
		f, err := createSpool(s.dir, s.worker.String())
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		s.file, s.size = f, 0
	}
	_, err = s.file.Write(line)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		// Half a line would spoil the next.
		return fmt.Errorf("spool: %w", errors.Join(err, s.file.Truncate(s.size)))
	}
	s.size += int64(len(line))
	return nil
}

// close lets the next worker have the file.
func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// encodeSpooled makes a line. Blobs are in their storage already.
func encodeSpooled(e spooled) ([]byte, error) {
	if e.Answer != nil {
		answer := *e.Answer
		answer.Response.Blobs = nil
		e.Answer = &answer
	}
	body, err := json.Marshal(e) //nolint:musttag // the domain's own fields, under spoolVersion
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	sum := sha256.Sum256(body)
	line, err := json.Marshal(spoolLine{spoolVersion, hex.EncodeToString(sum[:]), body})
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return append(line, '\n'), nil
}

// decodeSpooled reads a line; an error says what is wrong with it.
func decodeSpooled(data []byte) (e spooled, err error) {
	var line spoolLine
	if err := json.Unmarshal(data, &line); err != nil {
		return e, errors.New("is cut off or no line of a spool")
	}
	if line.Version != spoolVersion {
		return e, fmt.Errorf("has version %d, and this program knows %d", line.Version, spoolVersion)
	}
	if sum := sha256.Sum256(line.Body); hex.EncodeToString(sum[:]) != line.SHA256 {
		return e, errors.New("was changed: its hash is another")
	}
	err = json.Unmarshal(line.Body, &e) //nolint:musttag // see encodeSpooled
	if err != nil || (e.Answer == nil) == (e.Settlement == nil) || e.call() == uuid.Nil {
		return e, errors.New("names no outcome of a call")
	}
	return e, nil
}

// createSpool makes a worker's file, and locks it before others can see it.
func createSpool(dir, worker string) (f *os.File, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, worker+spoolSuffix)
	hidden := filepath.Join(dir, "."+worker+".new")
	defer func() {
		// The file's name until it is locked helps nobody.
		if of, ok := errors.AsType[*fs.PathError](err); ok && of.Path == hidden {
			err = fmt.Errorf("write %s: %w", path, of.Err)
		} else if of, ok := errors.AsType[*os.LinkError](err); ok {
			err = fmt.Errorf("write %s: %w", path, of.Err)
		}
	}()
	f, err = os.OpenFile(hidden, os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o600) //nolint:gosec // a name of ours in a folder of ours
	if err != nil {
		return nil, err
	}
	if _, err = lockFile(f); err == nil {
		err = os.Rename(hidden, path)
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(hidden))
	}
	return f, nil
}

// remind tells of lines that a person has to look at.
func (s *spool) remind() {
	if s.dir == "" {
		return
	}
	if aside, err := filepath.Glob(filepath.Join(s.dir, "*"+asideSuffix)); err == nil && len(aside) > 0 {
		s.log.Warn().Strs("files", aside).Msg("these outcomes of calls could not be committed: see the error of that time, and remove them when they are settled")
	}
}

// watch commits what others leave until ctx ends.
func (s *spool) watch(ctx context.Context, store WorkStore) {
	for sleep.For(ctx, spoolEvery) == nil {
		s.recover(ctx, store)
	}
}

// recover commits what stopped workers have left in the folder. What Postgres does
// not take just now is left for the next time.
func (s *spool) recover(ctx context.Context, store WorkStore) {
	orphaned := orphanedFiles{s.dir, spoolSuffix, s.worker, s.log}
	orphaned.recover(ctx, "spool not committed: it is kept", func(f *os.File) error {
		return s.commitFile(ctx, store, f)
	})
}

// commitFile commits what stands in a file, and puts aside what cannot be committed.
func (s *spool) commitFile(ctx context.Context, store WorkStore, f *os.File) error {
	path := f.Name()
	var aside bytes.Buffer
	committed := 0
	in := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		reason, err := s.commit(ctx, store, line)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if reason == "" {
			committed++
			continue
		}
		s.log.Error().Str("file", path).Int("line", n).Str("kept_in", path+asideSuffix).
			Msg("an outcome that was spooled cannot be committed: the line " + reason)
		aside.Write(line)
		if !bytes.HasSuffix(line, []byte("\n")) {
			aside.WriteByte('\n')
		}
	}
	if aside.Len() > 0 {
		if err := writeSynced(path+asideSuffix, aside.Bytes()); err != nil {
			return err
		}
	}
	s.log.Info().Str("file", path).Int("outcomes", committed).Msg("committed what a worker had spooled while Postgres was away")
	return nil
}

// commit commits one line. reason says why it never will be, err that it can not
// be now.
func (s *spool) commit(ctx context.Context, store WorkStore, line []byte) (reason string, err error) {
	e, err := decodeSpooled(line)
	if err != nil {
		return err.Error(), nil
	}
	committing, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	known, err := store.Known(committing, []uuid.UUID{e.call()})
	if err != nil {
		return "", err
	}
	if len(known) == 0 {
		return "is of a call that does not stand in this database", nil
	}
	if e.Answer != nil {
		err = store.Succeed(committing, *e.Answer)
	} else {
		err = store.SettleCall(committing, *e.Settlement)
	}
	switch {
	case err == nil:
	case errors.Is(err, jobs.ErrLeaseLost):
		s.log.Warn().Stringer("call", e.call()).Msg("a spooled answer came too late: its call is on the bill")
	case committing.Err() != nil:
		return "", err
	default:
		return "is refused: " + err.Error(), nil
	}
	return "", nil
}

// readLine reads a line with its end; the last one may lack it.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxSpoolLine:
			return nil, fmt.Errorf("is longer than %d bytes", maxSpoolLine)
		}
	}
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600) //nolint:gosec // a name of ours in a folder of ours
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

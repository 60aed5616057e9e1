package worker

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"oneflow/jobs"
)

// killed leaves the marks of a worker as a kill does, with calls in every state, and
// returns the one that was not sent.
func killed(t *testing.T, dir string) (path string, unsent uuid.UUID) {
	t.Helper()
	if _, err := bootID(); err != nil {
		t.Skip("this system does not say when it was started: there are no marks")
	}
	m := newSendMarks(dir, jobs.NewID(), zerolog.Nop())
	first := m.open(jobs.NewID())
	m.sent(m.open(jobs.NewID()))
	m.sent(first)
	m.over(first)
	unsent = jobs.NewID()
	if again := m.open(unsent); again != first {
		t.Errorf("place %d, want that of the call that is over, %d", again, first)
	}
	m.refused(m.open(jobs.NewID()))
	if err := m.file.Close(); err != nil {
		t.Fatal(err)
	}
	return m.path, unsent
}

// recovered has the next worker go through what a killed one has left. A process that is being
// started beside this test holds the file's lock, too, for a moment.
func recovered(ctx context.Context, dir, path string, db *book) {
	next := newSendMarks(dir, jobs.NewID(), zerolog.Nop())
	for began := time.Now(); time.Since(began) < time.Minute; {
		next.recover(ctx, db)
		if _, err := os.Stat(path); os.IsNotExist(err) {
			return
		}
	}
}

func TestWhatAKilledWorkerHadNotSentIsNotBilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, unsent := killed(t, dir)
	db := &book{}
	recovered(t.Context(), dir, path, db)
	if len(db.got) != 1 || len(db.got[unsent]) != 1 {
		t.Fatalf("settled: %v, want the call that was not sent", db.got)
	}
	if s := db.got[unsent][0].Settlement; s.Outcome != jobs.CallFailedUnbilled || s.Cost == nil || *s.Cost != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is kept: %v", err)
	}
	recovered(t.Context(), dir, path, db)
	if len(db.got[unsent]) != 1 {
		t.Error("it is settled twice")
	}
}

func TestTheCallsOfALivingWorkerAreLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newSendMarks(dir, jobs.NewID(), zerolog.Nop())
	if m.open(jobs.NewID()) == noPlace {
		t.Skip("this system has no marks")
	}
	db := &book{}
	newSendMarks(dir, jobs.NewID(), zerolog.Nop()).recover(t.Context(), db)
	if len(db.got) != 0 {
		t.Errorf("settled: %v", db.got)
	}
	m.close()
	if files, err := filepath.Glob(filepath.Join(dir, "spool", "*")); err != nil || len(files) != 0 {
		t.Errorf("it leaves %v, %v", files, err)
	}
	if m.open(jobs.NewID()) != noPlace {
		t.Error("a worker that has left marks calls")
	}
}

// What was written last may be lost with the machine, and a call that was sent would be
// taken for one that was not.
func TestMarksFromBeforeAStartOfTheMachineSayNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, _ := killed(t, dir)
	data, err := os.ReadFile(path)
	if err == nil {
		data[0] ^= 1
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db := &book{}
	recovered(t.Context(), dir, path, db)
	if len(db.got) != 0 {
		t.Errorf("settled: %v", db.got)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is kept: %v", err)
	}
}

func TestAFileThatIsCutShortSaysNothingOfItsLastCall(t *testing.T) {
	t.Parallel()
	path, unsent := killed(t, t.TempDir())
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := notSent(data); !slices.Equal(got, []uuid.UUID{unsent}) {
		t.Errorf("%v, want %s", got, unsent)
	}
	if got := notSent(data[:bootSize+lengthOfID]); len(got) != 0 {
		t.Errorf("half a mark says %v", got)
	}
	if got := notSent(bytes.Repeat([]byte{markOpen}, bootSize-1)); len(got) != 0 {
		t.Errorf("a file without a start says %v", got)
	}
}

func TestWithoutAFolderOrWithAFullDiskThereAreNoMarks(t *testing.T) {
	t.Parallel()
	none := newSendMarks("", jobs.NewID(), zerolog.Nop())
	if none.open(jobs.NewID()) != noPlace {
		t.Error("a call is marked nowhere")
	}
	dir := t.TempDir()
	m := newSendMarks(dir, jobs.NewID(), zerolog.Nop())
	place := m.open(jobs.NewID())
	if place == noPlace {
		t.Skip("this system has no marks")
	}
	if err := m.file.Close(); err != nil { // the next write fails
		t.Fatal(err)
	}
	m.sent(place)
	db := &book{}
	newSendMarks(dir, jobs.NewID(), zerolog.Nop()).recover(t.Context(), db)
	if len(db.got) != 0 {
		t.Errorf("a call whose second mark was not written is settled as not sent: %v", db.got)
	}
}

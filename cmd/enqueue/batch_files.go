package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"oneflow/artifacts"
	"oneflow/batches/rows"
	"oneflow/internal/cli"
	"oneflow/providers"
)

// formatFiles is the format of a folder each file of which is a row.
const formatFiles = string(rows.FormatFiles)

// filesOf lists the file of a path, or the files of its folder in order of their names: hidden ones
// are passed over, and those that begin with _.
func filesOf(at string) (list []rows.File, err error) {
	info, err := os.Stat(at)
	if err != nil {
		return nil, cli.Fail(cli.Usage, err)
	}
	open := func(at string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return os.Open(at) } //nolint:gosec // the user names it, or its folder
	}
	if !info.IsDir() {
		return []rows.File{{Name: filepath.Base(at), Open: open(at)}}, nil
	}
	err = filepath.WalkDir(at, func(path string, d fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")
		switch {
		case err != nil:
			return err
		case hidden && path != at && d.IsDir():
			return filepath.SkipDir
		case hidden || !d.Type().IsRegular():
			return nil
		}
		name, err := filepath.Rel(at, path)
		list = append(list, rows.File{Name: filepath.ToSlash(name), Open: open(path)})
		return err
	})
	if err == nil && len(list) == 0 {
		err = cli.Fail(cli.Usage, fmt.Errorf("%s: there is no file in this folder", at))
	}
	return list, err
}

// recognise finds out whether each file is a row of its own, where nobody says how the rows are
// written: where all of them are pictures, sounds, films or PDFs.
func (r *reading) recognise(file string) error {
	if r.Format != "auto" || file == "-" || artifacts.IsURL(file) {
		return nil
	}
	list, err := filesOf(file)
	if err != nil {
		return err
	}
	for _, one := range list {
		media, err := isMedia(one)
		if err != nil || !media {
			return err
		}
	}
	r.Format = formatFiles
	return nil
}

// isMedia reports whether a file is a picture, a sound, a film or a PDF.
func isMedia(file rows.File) (bool, error) {
	f, err := file.Open()
	if err != nil {
		return false, cli.Fail(cli.Usage, err)
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, fmt.Errorf("%s: %w", file.Name, err)
	}
	return providers.MediaType(head[:n]) != "", nil
}

// checkNoFolder refuses the URL of a folder: one file of rows is read at a URL.
func checkNoFolder(address string) error {
	if !artifacts.IsURL(address) {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil //nolint:nilerr // opening it says what is wrong
	}
	here, local := u.Path, u.Scheme == "file"
	if info, err := os.Stat(here); !strings.HasSuffix("/"+here, "/") && (!local || err != nil || !info.IsDir()) {
		return nil //nolint:nilerr // as above
	}
	at := u.Scheme + "://" + u.Host + u.Path
	if local {
		return fmt.Errorf("%s: is a folder, and a URL names one file of rows: give the folder's path, %s", at, here)
	}
	copies := map[string]string{"s3": "aws s3 cp --recursive", "gs": "gcloud storage cp --recursive"}[u.Scheme]
	return fmt.Errorf("%s: is a folder in a bucket, and a URL names one file of rows: copy the folder here (%s %s FOLDER) and give its path (enqueue batch FOLDER)", at, copies, at)
}

// checkFiles refuses what can be no job of a file.
func (c *batchCmd) checkFiles() error {
	_, prompt := c.Set["prompt"]
	switch {
	case c.Format != formatFiles:
		return nil
	case c.File == "-" || artifacts.IsURL(c.File):
		return errors.New("--format files: makes a row of each file of a folder here: copy the files into one, and give its path")
	case len(c.Map) > 0:
		return errors.New("--map: a row that is a file has no columns but file, which has its name: leave it out")
	case c.Task == string(providers.Transcription):
		return nil
	case c.Task != string(providers.Text):
		return fmt.Errorf("--task %s: is not about files: they are asked about (--task text), or transcribed (--task transcription)", c.Task)
	case c.Template == "" && !prompt:
		return fmt.Errorf("%s holds no rows but files, such as pictures: each becomes a row once it is said what is asked of it, with --template 'Describe this picture', or for sounds with --task transcription", c.File)
	case c.Template != "" && prompt:
		return errors.New("--set prompt=…: --template says what is asked already: leave one of them out")
	}
	return nil
}

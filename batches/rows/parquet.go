package rows

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetFile reads the rows of a Parquet file.
type parquetFile struct {
	places
	file    *parquet.File
	close   func() error
	columns []parquetColumn
	names   []string
	group   int // that is read, from 0
	rows    parquet.Rows
	buffer  []parquet.Row
	ready   []parquet.Row // those of buffer that are still to come
	last    error         // what follows after ready
	place   int64
	end     error
}

// parquetColumn is a column of the outermost level. One of lists or structs takes
// several columns of values.
type parquetColumn struct {
	name string // empty for one that is passed over
	node parquet.Node
	leaf int // its column of values; -1 where it has several
}

// maxChunk is the greatest size of an unpacked column in one row group: what is read at a
// time is a page of it, whose size nobody else bounds.
const maxChunk = 4 << 30

// openParquet reads the rows of r, which is size bytes long. closing is called by
// Close.
func openParquet(name string, r io.ReaderAt, size int64, closing func() error) (_ Source, err error) {
	defer damaged(&err, name)
	file, err := parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, &FormatError{LineError{File: name, Reason: "is no whole Parquet file: " + Printable(err)}}
	}
	p := &parquetFile{places: places{name: name, counted: true}, file: file, close: closing, group: -1, buffer: make([]parquet.Row, 64)}
	for i, group := range file.Metadata().RowGroups {
		p.groups = append(p.groups, group.NumRows)
		for _, chunk := range group.Columns {
			column := Quoted(strings.Join(chunk.MetaData.PathInSchema, "."))
			if codec := chunk.MetaData.Codec; !unpacks(codec) {
				return nil, &FormatError{LineError{File: name, Reason: fmt.Sprintf("column %s is compressed with %s, which is not read: write it with zstd or snappy, such as df.to_parquet(FILE, compression=\"zstd\")", column, codec)}}
			}
			if chunk.MetaData.TotalUncompressedSize > maxChunk {
				return nil, &FormatError{LineError{File: name, Reason: fmt.Sprintf("column %s of row group %d is larger than 4 GiB unpacked: write smaller row groups", column, i+1)}}
			}
		}
	}
	leaf := 0
	for _, node := range file.Schema().Fields() {
		c := parquetColumn{name: node.Name(), node: node, leaf: leaf}
		if leaf += leaves(node); !node.Leaf() || node.Repeated() {
			c.leaf = -1
		}
		if strings.HasPrefix(c.name, "__index_level_") { // pandas' index without a name
			c.name = ""
		} else {
			p.names = append(p.names, c.name)
		}
		p.columns = append(p.columns, c)
	}
	return p, nil
}

// unpacks reports whether a compression is read. LZ4 is not: the library that reads the pages drops
// what it has unpacked of those that are not packed to a third, and asks for ever more memory where
// they are damaged.
func unpacks(codec format.CompressionCodec) bool {
	switch codec {
	case format.Uncompressed, format.Snappy, format.Gzip, format.Brotli, format.Zstd:
		return true
	case format.LZO, format.Lz4, format.Lz4Raw:
	}
	return false
}

func leaves(node parquet.Node) (n int) {
	if node.Leaf() {
		return 1
	}
	for _, f := range node.Fields() {
		n += leaves(f)
	}
	return n
}

// damaged makes an error of a panic: the library trusts a file's own numbers.
func damaged(err *error, name string) {
	if r := recover(); r != nil {
		*err = &FormatError{LineError{File: name, Reason: "is a damaged Parquet file: " + Printable(fmt.Errorf("%v", r))}}
	}
}

// Columns implements Source.
func (p *parquetFile) Columns() []string { return p.names }

// Close implements Source.
func (p *parquetFile) Close() error {
	if p.rows != nil {
		_ = p.rows.Close()
	}
	return p.close()
}

// Next implements Source.
func (p *parquetFile) Next() (_ Row, err error) {
	if p.end != nil {
		return Row{}, p.end
	}
	defer func() {
		if _, one := errors.AsType[*LineError](err); err != nil && !one {
			p.end = err
		}
	}()
	defer damaged(&err, p.name)
	raw, err := p.next()
	if err != nil {
		return Row{}, err
	}
	p.place++
	return p.row(raw)
}

// next returns the values of the next row.
func (p *parquetFile) next() (parquet.Row, error) {
	for len(p.ready) == 0 {
		if p.rows != nil && p.last == nil {
			n, err := p.rows.ReadRows(p.buffer)
			if n == 0 && err == nil {
				err = io.ErrNoProgress
			}
			p.ready, p.last = p.buffer[:n], err
			continue
		}
		if p.last != nil && !errors.Is(p.last, io.EOF) {
			return nil, errors.New(p.At(p.place+1, "cannot be read: "+Printable(p.last)).Error())
		}
		if p.rows != nil {
			_ = p.rows.Close()
			p.rows = nil
		}
		if p.group++; p.group >= len(p.file.RowGroups()) {
			return nil, io.EOF
		}
		p.rows, p.last = p.file.RowGroups()[p.group].Rows(), nil
	}
	raw := p.ready[0]
	p.ready = p.ready[1:]
	return raw, nil
}

// row makes a row of its values.
func (p *parquetFile) row(raw parquet.Row) (Row, error) {
	row := Row{Place: p.place, Fields: make(Fields, len(p.names)), Names: p.names}
	var whole map[string]any // with the columns of several values
	size := 0
	for _, c := range p.columns {
		var value json.RawMessage
		switch {
		case c.name == "":
			continue
		case c.leaf < 0:
			if whole == nil {
				whole = map[string]any{}
				if err := p.file.Schema().Reconstruct(&whole, raw); err != nil {
					return Row{}, p.At(p.place, "cannot be read: "+Printable(err))
				}
			}
			value = appendAny(nil, whole[c.name])
		default:
			value = json.RawMessage("null")
			for _, v := range raw {
				if v.Column() == c.leaf {
					value = leafJSON(c.node, v)
					break
				}
			}
		}
		if size += len(value); size > MaxRow {
			return Row{}, p.At(p.place, tooLong("is"))
		}
		row.Fields[c.name] = value
	}
	return row, nil
}

// finite is v as JSON, which has no other numbers: NaN stands for no value.
func finite(v float64, bits int) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	if bits == 32 {
		return float32(v)
	}
	return v
}

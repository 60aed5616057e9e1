package batches

import (
	"encoding/json"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
)

// parquetTable writes a Parquet file.
type parquetTable struct {
	columns []tableColumn
	w       *parquet.GenericWriter[any]
	held    int // bytes since the last row group
}

// maxHeld is about how many bytes of values a row group has: they are held in memory
// until it is written.
const maxHeld = 32 << 20

func newParquetTable(w io.Writer, columns []tableColumn) *parquetTable {
	group := orderedGroup{Group: parquet.Group{}}
	for _, c := range columns {
		node := parquet.String()
		switch c.Type {
		case "whole":
			node = parquet.Leaf(parquet.Int64Type)
		case "number":
			node = parquet.Leaf(parquet.DoubleType)
		case "boolean":
			node = parquet.Leaf(parquet.BooleanType)
		}
		if c.Type == "vector" {
			group.Group[c.Name] = parquet.Repeated(parquet.Leaf(parquet.FloatType))
		} else {
			group.Group[c.Name] = parquet.Optional(node)
		}
		group.order = append(group.order, c.Name)
	}
	return &parquetTable{columns: columns, w: parquet.NewGenericWriter[any](w, parquet.NewSchema("rows", group), parquet.Compression(&parquet.Snappy))}
}

func (t *parquetTable) write(r Record) error {
	values, err := rowValues(t.columns, &r)
	if err != nil {
		return err
	}
	row := make(parquet.Row, 0, len(values))
	for i, value := range values {
		if t.columns[i].Type == "vector" {
			row = t.vector(row, i, value)
			continue
		}
		v, size := parquetValue(t.columns[i].Type, value)
		t.held += size
		level := 1
		if v.IsNull() {
			level = 0
		}
		row = append(row, v.Level(0, level, i))
	}
	if _, err := t.w.WriteRows([]parquet.Row{row}); err != nil {
		return err
	}
	if t.held < maxHeld {
		return nil
	}
	t.held = 0
	return t.w.Flush()
}

// vector adds the numbers of a vector to a row: a list, empty where there is none.
func (t *parquetTable) vector(row parquet.Row, column int, value any) parquet.Row {
	numbers, _ := value.([]float32)
	if len(numbers) == 0 {
		return append(row, parquet.NullValue().Level(0, 0, column))
	}
	for i, v := range numbers {
		row = append(row, parquet.FloatValue(v).Level(min(i, 1), 1, column))
	}
	t.held += 4 * len(numbers)
	return row
}

func (t *parquetTable) close() error { return t.w.Close() }

// parquetValue is a value in its column's type, and about how many bytes it takes.
func parquetValue(kind string, value any) (parquet.Value, int) {
	if value == nil {
		return parquet.NullValue(), 1
	}
	number := json.Number(cell(value))
	switch kind {
	case "whole":
		if n, err := number.Int64(); err == nil {
			return parquet.Int64Value(n), 8
		}
	case "number":
		if n, err := number.Float64(); err == nil {
			return parquet.DoubleValue(n), 8
		}
	case "boolean":
		return parquet.BooleanValue(number == "true"), 1
	default:
		return parquet.ByteArrayValue([]byte(number)), len(number)
	}
	return parquet.NullValue(), 1
}

// orderedGroup is a group whose columns stand in an order of their own: the library
// sorts them by name.
type orderedGroup struct {
	parquet.Group
	order []string
}

// Fields implements parquet.Node.
func (g orderedGroup) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(g.order, a.Name()) - slices.Index(g.order, b.Name())
	})
	return fields
}

package rows

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/format"
)

// leafJSON is one value of a column as JSON: by its logical type where it has one.
// Bytes that are no text become null.
func leafJSON(node parquet.Node, v parquet.Value) json.RawMessage {
	if v.IsNull() {
		return json.RawMessage("null")
	}
	if logical := node.Type().LogicalType(); logical != nil {
		if value, ok := logicalValue(logical.Value, v); ok {
			return appendAny(nil, value)
		}
	}
	switch v.Kind() {
	case parquet.Boolean:
		return appendAny(nil, v.Boolean())
	case parquet.Int32:
		return appendAny(nil, v.Int32())
	case parquet.Int64:
		return appendAny(nil, v.Int64())
	case parquet.Int96:
		return appendAny(nil, v.Int96())
	case parquet.Float:
		return appendAny(nil, v.Float())
	case parquet.Double:
		return appendAny(nil, v.Double())
	case parquet.ByteArray, parquet.FixedLenByteArray:
		return appendAny(nil, v.ByteArray())
	}
	return json.RawMessage("null")
}

// logicalValue is a value by its logical type; ok is false where its physical type
// says all.
func logicalValue(logical format.LogicalTypeValue, v parquet.Value) (value any, ok bool) {
	switch t := logical.(type) {
	case *format.JsonType:
		if raw := v.ByteArray(); json.Valid(raw) && Valid(raw) {
			return json.RawMessage(raw), true
		}
	case *format.UUIDType:
		if id, err := uuid.FromBytes(v.ByteArray()); err == nil {
			return id.String(), true
		}
	case *format.IntType:
		if !t.IsSigned {
			return v.Uint64(), true
		}
	case *format.DateType:
		return time.Unix(int64(v.Int32())*24*60*60, 0).UTC().Format(time.DateOnly), true
	case *format.TimestampType:
		return timestamp(t.Unit, v.Int64()), true
	case *format.TimeType:
		n := v.Int64()
		if v.Kind() == parquet.Int32 {
			n = int64(v.Int32())
		}
		return timestamp(t.Unit, n).Format("15:04:05.999999999"), true
	case *format.DecimalType:
		return decimal(v, t.Scale), true
	}
	return nil, false
}

// timestamp is n units since 1970.
func timestamp(unit format.TimeUnit, n int64) time.Time {
	switch unit.Value.(type) {
	case *format.MilliSeconds:
		return time.UnixMilli(n).UTC()
	case *format.MicroSeconds:
		return time.UnixMicro(n).UTC()
	}
	return time.Unix(0, n).UTC()
}

// decimal is a number with scale digits after its point.
func decimal(v parquet.Value, scale int32) json.RawMessage {
	n := new(big.Int)
	switch v.Kind() { //nolint:exhaustive // a decimal has no others
	case parquet.Int32:
		n.SetInt64(int64(v.Int32()))
	case parquet.Int64:
		n.SetInt64(v.Int64())
	default: // two's complement, the highest byte first
		raw := v.ByteArray()
		if n.SetBytes(raw); len(raw) > 0 && raw[0] >= 0x80 {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(len(raw))*8))
		}
	}
	if scale <= 0 || scale > 100 {
		return json.RawMessage(n.String())
	}
	whole := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	return json.RawMessage(whole.FloatString(int(scale)))
}

// appendAny appends a value that the library has put together as JSON.
func appendAny(to []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(to, "null"...)
	case json.RawMessage:
		return append(to, v...)
	case string:
		return appendText(to, v)
	case []byte:
		return appendText(to, string(v))
	case time.Time:
		return appendText(to, v.Format(time.RFC3339Nano))
	case deprecated.Int96:
		return appendText(to, int96(v).Format(time.RFC3339Nano))
	case float32:
		return appendPlain(to, finite(float64(v), 32))
	case float64:
		return appendPlain(to, finite(v, 64))
	case []any:
		to = append(to, '[')
		for i, one := range v {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendAny(to, one)
		}
		return append(to, ']')
	case map[string]any:
		return appendMap(to, v)
	case map[any]any:
		named := make(map[string]any, len(v))
		for key, one := range v {
			named[fmt.Sprint(key)] = one
		}
		return appendMap(to, named)
	}
	return appendPlain(to, value)
}

func appendMap(to []byte, m map[string]any) []byte {
	to = append(to, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(append(to, text(name)...), ':')
		to = appendAny(to, m[name])
	}
	return append(to, '}')
}

func appendText(to []byte, s string) []byte {
	if !utf8.ValidString(s) {
		return append(to, "null"...)
	}
	return append(to, text(s)...)
}

// appendPlain appends what encoding/json knows; what it does not becomes null.
func appendPlain(to []byte, value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		data = []byte("null")
	}
	return append(to, data...)
}

// int96 is the time that Hive and old Spark write: nanoseconds of the day, and the
// Julian day, of which 2440588 is 1970-01-01.
func int96(v deprecated.Int96) time.Time {
	nanos := int64(v[1])<<32 | int64(v[0])
	return time.Unix((int64(v[2])-2440588)*24*60*60, nanos).UTC()
}

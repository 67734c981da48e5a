package sharding

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// writeRows writes each row of a Parquet file as a line of JSON, with its columns as keys: strings, numbers and booleans, and lists
// and groups of them. Other types are refused by name. The order is that of the file. Where columns name some, the others are passed
// over, whatever their types.
func writeRows(f io.ReaderAt, size int64, columns Columns, to io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil { // the library's way with some damaged files
			err = fmt.Errorf("read Parquet: damaged file: %v", p)
		}
	}()
	if err := checkFooter(f, size); err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("read Parquet: %w", err)
	}
	w := &rowWriter{root: file.Root(), leaves: countLeaves(file.Root())}
	if err := w.choose(columns); err != nil {
		return err
	}
	for _, group := range file.RowGroups() {
		if group.NumRows() == 0 { // the library cannot seek in it
			continue
		}
		if err := w.group(group, to); err != nil {
			return err
		}
	}
	return nil
}

// maxFooterBytes bounds the description of a Parquet file. A file with a thousand row groups has some megabytes.
const maxFooterBytes = 64 << 20

// checkFooter looks at the length of the description before the library makes room for it.
func checkFooter(f io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return errors.New("read Parquet: the file is cut off")
	}
	if _, err := f.ReadAt(tail[:], size-8); err != nil {
		return fmt.Errorf("read Parquet: %w", err)
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(tail[4:]) != "PAR1" || length > size-12 || length > maxFooterBytes {
		return errors.New("read Parquet: the file ends otherwise than Parquet does: is it whole?")
	}
	return nil
}

// choose takes the columns that are wanted and refuses those whose values are no JSON.
func (w *rowWriter) choose(columns Columns) error {
	var names []string
	for _, c := range w.root.Columns() {
		names = append(names, c.Name())
		wanted := len(columns) == 0
		for _, name := range columns {
			wanted = wanted || covers(c.Name(), name)
		}
		w.wanted = append(w.wanted, wanted)
		if wanted {
			if err := checkColumns(c, c.Name()); err != nil {
				return err
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(columns)) {
		there := slices.ContainsFunc(names, func(name string) bool { return covers(name, columns[key]) })
		if !there && !slices.Contains(optionalKeys, key) {
			return fmt.Errorf("read Parquet: no column %q, which data.columns names for %q: the file has %s", columns[key], key, quoted(names))
		}
	}
	return nil
}

// covers says whether a path begins with a column.
func covers(column, path string) bool { return path == column || strings.HasPrefix(path, column+".") }

// checkColumns refuses columns whose values are no JSON.
func checkColumns(c *parquet.Column, name string) error {
	for _, child := range c.Columns() {
		if err := checkColumns(child, child.Name()); err != nil {
			return err
		}
	}
	if !c.Leaf() {
		if _, ok := meaning(c).(*format.MapType); ok {
			return fmt.Errorf("read Parquet: column %q is a map: write it as a group or as a string", name)
		}
		return nil
	}
	switch c.Type().Kind() {
	case parquet.Boolean, parquet.Int32, parquet.Int64, parquet.Float, parquet.Double, parquet.ByteArray:
		switch meaning(c).(type) {
		case nil, *format.StringType, *format.JsonType, *format.EnumType, *format.IntType:
			return nil
		}
	}
	return fmt.Errorf("read Parquet: column %q has type %s: known are strings, numbers and booleans", name, c.Type())
}

// meaning is what a column is annotated with, or nil.
func meaning(c *parquet.Column) format.LogicalTypeValue {
	t := c.Type().LogicalType()
	if t == nil {
		return nil
	}
	return t.Value
}

func countLeaves(c *parquet.Column) int {
	if c.Leaf() {
		return 1
	}
	n := 0
	for _, child := range c.Columns() {
		n += countLeaves(child)
	}
	return n
}

// rowWriter puts rows together from the values of their columns.
type rowWriter struct {
	root   *parquet.Column
	wanted []bool // by column of root
	leaves int
	line   bytes.Buffer
}

func (w *rowWriter) group(group parquet.RowGroup, to io.Writer) error {
	rows := group.Rows()
	defer rows.Close()
	buffer := make([]parquet.Row, 64)
	for {
		n, err := rows.ReadRows(buffer)
		for _, row := range buffer[:n] {
			w.line.Reset()
			if err := w.row(row); err != nil {
				return fmt.Errorf("read Parquet: %w", err)
			}
			w.line.WriteByte('\n')
			if _, err := to.Write(w.line.Bytes()); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read Parquet: %w", err)
		}
		if n == 0 {
			return errors.New("read Parquet: a row group ends before its rows do")
		}
	}
}

func (w *rowWriter) row(row parquet.Row) error {
	columns := make([][]parquet.Value, w.leaves)
	for _, v := range row {
		c := v.Column()
		if c < 0 || c >= w.leaves {
			return fmt.Errorf("value of column %d of %d", c, w.leaves)
		}
		columns[c] = append(columns[c], v)
	}
	for c, values := range columns {
		if len(values) == 0 {
			return fmt.Errorf("no value in column %d", c)
		}
	}
	return w.fields(w.root, columns)
}

// fields writes a group as an object.
func (w *rowWriter) fields(of *parquet.Column, columns [][]parquet.Value) error {
	w.line.WriteByte('{')
	at, first := 0, true
	for i, c := range of.Columns() {
		n := countLeaves(c)
		if of == w.root && !w.wanted[i] {
			at += n
			continue
		}
		if !first {
			w.line.WriteByte(',')
		}
		first = false
		w.text(c.Name())
		w.line.WriteByte(':')
		if err := w.value(c, columns[at:at+n]); err != nil {
			return err
		}
		at += n
	}
	w.line.WriteByte('}')
	return nil
}

// value writes what a column has in one place: columns are the values of its leaves there, at least one of each.
func (w *rowWriter) value(c *parquet.Column, columns [][]parquet.Value) error {
	there := columns[0][0].DefinitionLevel() >= c.MaxDefinitionLevel()
	switch {
	case c.Repeated():
		return w.list(c, columns, func(item [][]parquet.Value) error { return w.present(c, item) })
	case c.Optional() && !there:
		w.line.WriteString("null")
		return nil
	}
	return w.present(c, columns)
}

// present writes a value that is there.
func (w *rowWriter) present(c *parquet.Column, columns [][]parquet.Value) error {
	if c.Leaf() {
		return w.leaf(columns[0][0])
	}
	children := c.Columns()
	if _, ok := meaning(c).(*format.ListType); !ok || len(children) != 1 || !children[0].Repeated() {
		return w.fields(c, columns)
	}
	// A list is a group around a repeated group around the item, or around the repeated item itself.
	items := children[0]
	wrapped := !items.Leaf() && len(items.Columns()) == 1 && items.Name() != "array" && items.Name() != c.Name()+"_tuple"
	return w.list(items, columns, func(item [][]parquet.Value) error {
		if wrapped {
			return w.value(items.Columns()[0], item)
		}
		return w.present(items, item)
	})
}

// list writes the items of a repeated column.
func (w *rowWriter) list(c *parquet.Column, columns [][]parquet.Value, write func([][]parquet.Value) error) error {
	w.line.WriteByte('[')
	if columns[0][0].DefinitionLevel() >= c.MaxDefinitionLevel() {
		for first := true; len(columns[0]) > 0; first = false {
			item := make([][]parquet.Value, len(columns))
			for i, values := range columns {
				if len(values) == 0 {
					return fmt.Errorf("column %q: its parts have different numbers of items", c.Name())
				}
				n := 1
				for n < len(values) && values[n].RepetitionLevel() > c.MaxRepetitionLevel() {
					n++
				}
				item[i], columns[i] = values[:n], values[n:]
			}
			if !first {
				w.line.WriteByte(',')
			}
			if err := write(item); err != nil {
				return err
			}
		}
	}
	w.line.WriteByte(']')
	return nil
}

func (w *rowWriter) leaf(v parquet.Value) error {
	switch v.Kind() {
	case parquet.Boolean:
		w.line.WriteString(strconv.FormatBool(v.Boolean()))
	case parquet.Int32:
		w.line.WriteString(strconv.FormatInt(int64(v.Int32()), 10))
	case parquet.Int64:
		w.line.WriteString(strconv.FormatInt(v.Int64(), 10))
	case parquet.Float:
		return w.number(float64(v.Float()))
	case parquet.Double:
		return w.number(v.Double())
	default:
		if !utf8.Valid(v.ByteArray()) {
			return errors.New("a string is not UTF-8")
		}
		w.text(string(v.ByteArray()))
	}
	return nil
}

func (w *rowWriter) number(x float64) error {
	text, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("%v is no number of JSON", x)
	}
	w.line.Write(text)
	return nil
}

func (w *rowWriter) text(s string) {
	text, _ := json.Marshal(s) // a string always has a form in JSON
	w.line.Write(text)
}

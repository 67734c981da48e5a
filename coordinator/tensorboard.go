package main

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/torctrain/torc/internal/pb"
)

// events writes a run's history as TensorBoard reads it: a file of records, each a length, its checksum, an Event message and
// the checksum of that (tensorboard/compat/proto/event.proto, TFRecord).
type events struct {
	f  *os.File
	at int64 // Unix nanoseconds of the last step
}

func newEvents(dir string) (*events, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, "events.out.tfevents.0.torc")) // what was written before is in it again
	if err != nil {
		return nil, err
	}
	w := &events{f: f}
	return w, w.record(0, 3, []byte("brain.Event:2")) // file_version
}

func (w *events) write(h *pb.HistoryLine) error {
	if v := h.GetValidation(); v != nil {
		return w.record(v.Step, 5, value(nil, "loss/validation", v.Loss))
	}
	s := h.GetStep()
	w.at = s.GetUnixNano()
	summary := value(nil, "loss/train", s.GetLoss())
	summary = value(summary, "optimizer/rate", s.GetRate())
	summary = value(summary, "optimizer/grad_norm", s.GetGradNorm())
	if s.GetSeconds() > 0 {
		summary = value(summary, "speed/tokens_per_second", float64(s.GetTokens())/s.GetSeconds())
	}
	return w.record(s.GetStep(), 5, summary)
}

func (w *events) close() error { return w.f.Close() }

// value appends a Value to a Summary.
func value(summary []byte, tag string, x float64) []byte {
	v := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), tag)
	v = protowire.AppendFixed32(protowire.AppendTag(v, 2, protowire.Fixed32Type), math.Float32bits(float32(x)))
	return protowire.AppendBytes(protowire.AppendTag(summary, 1, protowire.BytesType), v)
}

// record writes an Event: its wall time, its step and one field more, by number.
func (w *events) record(step uint64, field protowire.Number, content []byte) error {
	event := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(float64(w.at)/1e9))
	event = protowire.AppendVarint(protowire.AppendTag(event, 2, protowire.VarintType), step)
	event = protowire.AppendBytes(protowire.AppendTag(event, field, protowire.BytesType), content)
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(event)))
	text := binary.LittleEndian.AppendUint32(length, masked(length))
	text = binary.LittleEndian.AppendUint32(append(text, event...), masked(event))
	_, err := w.f.Write(text)
	return err
}

// masked is the checksum of a record.
func masked(b []byte) uint32 {
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return (sum>>15 | sum<<17) + 0xa282ead8
}

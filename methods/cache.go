package methods

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/torctrain/torc/internal/rng"
	"github.com/torctrain/torc/model"
)

// Cache keeps values under keys that name them completely. It may forget, and what it returns is checked; several goroutines
// use it at once.
type Cache interface {
	Get(key [32]byte) ([]byte, bool)
	Put(key [32]byte, value []byte)
}

func (f *lowRank) use(c Cache) { f.cache = c }

// decompose finds the leading singular values of weight i, in the cache or anew.
func (f *lowRank) decompose(k model.Kernels, i int, w *model.Matrix) (*singular, error) {
	e, chance := Engine{Kernels: k}, f.key.Sub(uint64(f.tensors[i].Weight))
	if f.cache == nil {
		return e.decompose(w, f.c.Rank, chance)
	}
	key := singularKey(k.Name(), w, f.c.Rank, chance)
	if value, ok := f.cache.Get(key); ok {
		if d := decodeSingular(value, w.Rows, w.Cols, f.c.Rank); d != nil {
			return d, nil
		}
	}
	d, err := e.decompose(w, f.c.Rank, chance)
	if err == nil {
		f.cache.Put(key, d.encode())
	}
	return d, err
}

// singularKey names a decomposition: by all bits of the weight, the rank, where the iteration starts, and the arithmetic.
func singularKey(arithmetic string, w *model.Matrix, rank int, chance rng.Key) [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "torc singular 1\n%s\n%s (%d, %d) rank %d rounds %d from %x\n", arithmetic, w.DType, w.Rows, w.Cols, rank, exactRounds, uint64(chance))
	const words = 1 << 12
	buf := make([]byte, 0, 4*words)
	for at := 0; at < w.Len(); at += words {
		buf = buf[:0]
		for i := at; i < min(at+words, w.Len()); i++ {
			if w.DType == model.F32 {
				buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(w.F32[i]))
			} else {
				buf = binary.LittleEndian.AppendUint16(buf, w.U16[i])
			}
		}
		h.Write(buf)
	}
	return [32]byte(h.Sum(nil))
}

// encode is s, a and b as float32, and their SHA-256.
func (d *singular) encode() []byte {
	b := make([]byte, 0, 4*(len(d.s)+len(d.a)+len(d.b))+sha256.Size)
	for _, part := range [][]float32{d.s, d.a, d.b} {
		for _, v := range part {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// decodeSingular reads what encode wrote for an (m, n) weight, nil if it is anything else.
func decodeSingular(b []byte, m, n, rank int) *singular {
	if len(b) != 4*rank*(1+m+n)+sha256.Size {
		return nil
	}
	body, check := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sum := sha256.Sum256(body); !bytes.Equal(check, sum[:]) {
		return nil
	}
	take := func(count int) []float32 {
		v := make([]float32, count)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*i:]))
		}
		body = body[4*count:]
		return v
	}
	return &singular{s: take(rank), a: take(rank * n), b: take(rank * m)}
}

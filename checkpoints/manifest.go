package checkpoints

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Manifest makes pieces a checkpoint: it exists only when they are durable and of one state. Whoever has it can tell the
// checkpoint's pieces from all others, and who had them. Equal manifests have equal bytes.
type Manifest struct {
	Run     string
	Spec    [32]byte // hash of the result part of the run's spec
	Step    uint64
	Digest  [32]byte // of the state
	Size    int64    // of the state's canonical bytes
	Data    int      // so many distinct pieces make it whole
	Parity  int      // any so many holders can be lost
	Loss    *float64 // validation loss after Step, when it was measured
	Pieces  []Piece  // by ascending index
	Holders []Holder // as they were when the manifest was made, by name
}

const (
	manifestMagic   = "torc manifest"
	manifestVersion = 1
	manifestSuffix  = ".manifest"
	// maxManifest bounds what is read as a manifest.
	maxManifest = 16 << 20
)

// Saved is a member's report of pieces that are on its disk for good.
type Saved struct {
	Holder  Holder // its Has are the indices of Pieces
	Spec    [32]byte
	Step    uint64
	Data    int
	Cutting // what the member found when it cut its copy of the state
}

// Commit makes the manifest of what members report, if any parity of them can be lost without loss of the checkpoint. It
// never makes one of pieces of different states. Each member reports once, all that it has. The error says what stands
// against it; Place, given the holders with what they have, says which pieces are to be asked for.
func Commit(run string, parity int, loss *float64, saved []Saved) (*Manifest, error) {
	if len(saved) == 0 {
		return nil, fmt.Errorf("commit checkpoint: no member has saved anything")
	}
	first := saved[0]
	m := &Manifest{
		Run: run, Spec: first.Spec, Step: first.Step, Digest: first.Digest, Size: first.Size, Data: first.Data,
		Parity: parity, Loss: loss,
	}
	for _, s := range saved {
		if s.Spec != m.Spec || s.Step != m.Step || s.Digest != m.Digest || s.Size != m.Size || s.Data != m.Data {
			return nil, fmt.Errorf("commit checkpoint of step %d: %s saved step %d with digest %x, %s step %d with digest %x: they are not of one state",
				m.Step, first.Holder.Name, m.Step, m.Digest[:8], s.Holder.Name, s.Step, s.Digest[:8])
		}
		h := s.Holder
		h.Has = nil
		for _, p := range s.Pieces {
			h.Has = append(h.Has, p.Index)
			at, found := slices.BinarySearchFunc(m.Pieces, p.Index, func(q Piece, index int) int { return q.Index - index })
			if !found {
				m.Pieces = slices.Insert(m.Pieces, at, p)
			} else if m.Pieces[at].Sum != p.Sum {
				return nil, fmt.Errorf("commit checkpoint of step %d: %s has another piece %d than others: a disk or memory is bad there or at one of %s",
					m.Step, h.Name, p.Index, strings.Join(names(m.holding(p.Index)), ", "))
			}
		}
		slices.Sort(h.Has)
		h.Has = slices.Compact(h.Has)
		m.Holders = append(m.Holders, h)
	}
	slices.SortFunc(m.Holders, func(a, b Holder) int { return strings.Compare(a.Name, b.Name) })
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("commit checkpoint of step %d: %w", m.Step, err)
	}
	if got := Endure(m.Holders, m.Data); got.Members < parity {
		return nil, fmt.Errorf("commit checkpoint of step %d: it would survive the loss of %d members, %d are promised; durable are %s",
			m.Step, max(got.Members, 0), parity, Describe(m.Holders))
	}
	return m, nil
}

func names(holders []Holder) []string {
	var n []string
	for _, h := range holders {
		n = append(n, h.Name)
	}
	return n
}

// holding are the holders that had piece index.
func (m *Manifest) holding(index int) []Holder {
	var who []Holder
	for _, h := range m.Holders {
		if slices.Contains(h.Has, index) {
			who = append(who, h)
		}
	}
	return who
}

// Held are the indices of the pieces that holder name had.
func (m *Manifest) Held(name string) []int {
	for _, h := range m.Holders {
		if h.Name == name {
			return slices.Clone(h.Has)
		}
	}
	return nil
}

// Piece is the name of a piece of the checkpoint.
func (m *Manifest) Piece(index int) PieceID {
	return PieceID{Step: m.Step, Digest: m.Digest, Data: m.Data, Index: index}
}

func (m *Manifest) layout() layout { return layout{data: m.Data, size: m.Size} }

// sum is the SHA-256 of piece index, if the manifest knows it.
func (m *Manifest) sum(index int) (sum [32]byte, known bool) {
	at, known := slices.BinarySearchFunc(m.Pieces, index, func(q Piece, index int) int { return q.Index - index })
	if known {
		sum = m.Pieces[at].Sum
	}
	return sum, known
}

// name is the name of the manifest's file.
func (m *Manifest) name() string {
	return strings.TrimSuffix(m.Piece(0).String(), fmt.Sprintf("-%d-0%s", m.Data, pieceSuffix)) + manifestSuffix
}

// check says which field has a value that no manifest has.
func (m *Manifest) check() error {
	switch {
	case !utf8.ValidString(m.Run):
		return fmt.Errorf("run %q is no text", m.Run)
	case m.Data < 1 || m.Data > maxData:
		return fmt.Errorf("data is %d: use 1 to %d", m.Data, maxData)
	case m.Parity < 0 || m.Parity > MaxPieces:
		return fmt.Errorf("parity is %d", m.Parity)
	case m.Size < 0 || m.Size > math.MaxInt64/4:
		return fmt.Errorf("size is %d", m.Size)
	case m.Loss != nil && (*m.Loss != *m.Loss || math.IsInf(*m.Loss, 0)):
		return fmt.Errorf("loss is %v", *m.Loss)
	case len(m.Pieces) < m.Data:
		return fmt.Errorf("it has %d pieces, %d are needed", len(m.Pieces), m.Data)
	}
	last := -1
	for _, p := range m.Pieces {
		if p.Index <= last || p.Index >= MaxPieces {
			return fmt.Errorf("piece %d follows piece %d", p.Index, last)
		}
		last = p.Index
	}
	for i, h := range m.Holders {
		if !utf8.ValidString(h.Name + h.Host + h.Zone) {
			return fmt.Errorf("holder %q is no text", h.Name)
		}
		if i > 0 && m.Holders[i-1].Name >= h.Name {
			return fmt.Errorf("holder %q follows %q: a name may stand once", h.Name, m.Holders[i-1].Name)
		}
		for j, index := range h.Has {
			if _, known := m.sum(index); !known || j > 0 && h.Has[j-1] >= index {
				return fmt.Errorf("holder %q has pieces %v", h.Name, h.Has)
			}
		}
	}
	return nil
}

// manifestJSON is what stands in a manifest's file.
type manifestJSON struct {
	Run     string      `json:"run"`
	Spec    hexSum      `json:"spec"`
	Step    uint64      `json:"step"`
	Digest  hexSum      `json:"digest"`
	Size    int64       `json:"size"`
	Data    int         `json:"data"`
	Parity  int         `json:"parity"`
	Loss    *float64    `json:"loss"`
	Pieces  []pieceJSON `json:"pieces"`
	Holders []Holder    `json:"holders"`
}

type pieceJSON struct {
	Index int    `json:"index"`
	Sum   hexSum `json:"sha256"`
}

type hexSum [32]byte

func (h hexSum) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

func (h *hexSum) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(h) {
		return fmt.Errorf("hash %q has not 64 digits", b)
	}
	_, err := hex.Decode(h[:], b)
	return err
}

// Bytes is the manifest as it is kept and sent: a line with magic, version and the SHA-256 of the rest, and JSON.
func (m *Manifest) Bytes() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	j := manifestJSON{
		Run: m.Run, Spec: m.Spec, Step: m.Step, Digest: m.Digest, Size: m.Size, Data: m.Data, Parity: m.Parity, Loss: m.Loss,
		Pieces: []pieceJSON{}, Holders: cloneHolders(m.Holders),
	}
	for _, p := range m.Pieces {
		j.Pieces = append(j.Pieces, pieceJSON{p.Index, p.Sum})
	}
	if j.Holders == nil {
		j.Holders = []Holder{}
	}
	for i := range j.Holders {
		if j.Holders[i].Has == nil {
			j.Holders[i].Has = []int{}
		}
	}
	text, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	text = append(text, '\n')
	head := fmt.Appendf(nil, "%s %d %x\n", manifestMagic, manifestVersion, sha256.Sum256(text))
	return append(head, text...), nil
}

// ParseManifest reads what Bytes made, and nothing else: an error of other bytes wraps ErrDamaged, unless they say that
// they are of another version.
func ParseManifest(b []byte) (*Manifest, error) {
	m, err := parseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return m, nil
}

func parseManifest(b []byte) (*Manifest, error) {
	head, text, _ := bytes.Cut(b, []byte("\n"))
	rest, ok := bytes.CutPrefix(head, []byte(manifestMagic+" "))
	version, sum, _ := bytes.Cut(rest, []byte(" "))
	switch {
	case !ok || len(b) > maxManifest:
		return nil, fmt.Errorf("%w: it does not begin with %q, or has more than %d bytes", ErrDamaged, manifestMagic, maxManifest)
	case string(version) != fmt.Sprint(manifestVersion):
		return nil, fmt.Errorf("manifest has version %.20q, this binary reads %d: use a torc of the run's version", version, manifestVersion)
	case string(sum) != fmt.Sprintf("%x", sha256.Sum256(text)):
		return nil, fmt.Errorf("%w: it does not fit its checksum", ErrDamaged)
	}
	var j manifestJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	m := &Manifest{
		Run: j.Run, Spec: j.Spec, Step: j.Step, Digest: j.Digest, Size: j.Size, Data: j.Data, Parity: j.Parity, Loss: j.Loss,
		Holders: j.Holders,
	}
	for _, p := range j.Pieces {
		m.Pieces = append(m.Pieces, Piece{p.Index, p.Sum})
	}
	again, err := m.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: it is not written as manifests are", ErrDamaged)
	}
	return m, nil
}

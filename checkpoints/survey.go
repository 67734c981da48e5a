package checkpoints

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Found is what a directory has of one checkpoint, or of one that never came to be.
type Found struct {
	Piece    PieceID   // of the first piece, which need not be there; its digest is cut to 8 bytes
	Manifest *Manifest // nil where there is none
	Pieces   []int     // indices of the pieces that are there, sound or not; ascending
}

// Survey lists what is in a store's directory, newest first, whatever run it is of. Damaged manifests are passed over.
func Survey(fsys FS, dir string) ([]Found, error) {
	files, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for checkpoints in %s: %w", dir, err)
	}
	s := &Store{fs: fsys, dir: dir}
	var all []Found
	at := func(id PieceID) *Found {
		id.Index, id.Digest = 0, [32]byte(append(slices.Clone(id.Digest[:8]), make([]byte, 24)...))
		i := slices.IndexFunc(all, func(f Found) bool { return f.Piece == id })
		if i < 0 {
			all, i = append(all, Found{Piece: id}), len(all)
		}
		return &all[i]
	}
	for _, name := range files {
		if id, ok := parsePieceName(name); ok {
			f := at(id)
			f.Pieces = append(f.Pieces, id.Index)
			continue
		}
		if !strings.HasSuffix(name, manifestSuffix) || strings.HasPrefix(name, tmpPrefix) {
			continue
		}
		if m, err := s.readManifest(name); err == nil {
			at(m.Piece(0)).Manifest = m
		}
	}
	for i := range all {
		slices.Sort(all[i].Pieces)
	}
	slices.SortStableFunc(all, func(a, b Found) int { return cmp.Compare(b.Piece.Step, a.Piece.Step) })
	return all, nil
}

// IsPiece says whether name is that of a piece's file.
func IsPiece(name string) bool {
	_, ok := parsePieceName(name)
	return ok
}

// Retained are those of all manifests of a run that stay: the newest, and those of lowest loss. They come newest first.
func Retained(all []*Manifest, c Config) []*Manifest {
	sorted := slices.SortedStableFunc(slices.Values(all), func(a, b *Manifest) int { return cmp.Compare(b.Step, a.Step) })
	kept := retained(sorted, c)
	slices.SortStableFunc(kept, func(a, b *Manifest) int { return cmp.Compare(b.Step, a.Step) })
	return kept
}

package checkpoints

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Collect removes what retention no longer asks for: manifests beyond the newest and the best, and pieces of checkpoints
// that are not kept and have two newer committed ones. A manifest goes before its pieces, and for good, so that a crash
// between leaves pieces without a manifest, never a manifest without its pieces.
func (s *Store) Collect() error { return s.collectBut("") }

// collectBut is Collect and leaves the manifest of one name where it is, with its pieces.
func (s *Store) collectBut(name string) error {
	if err := s.collect(name); err != nil {
		return fmt.Errorf("remove old checkpoints in %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) collect(but string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, err := s.Manifests()
	if err != nil {
		return err
	}
	pieces, err := s.Pieces()
	if err != nil {
		return err
	}
	kept := retained(all, s.cfg)
	var errs []error
	removed := false
	for _, m := range all {
		if m.name() == but && !slices.Contains(kept, m) {
			kept = append(kept, m)
		}
	}
	for _, m := range all {
		if !slices.Contains(kept, m) {
			errs = append(errs, s.fs.Remove(s.path(m.name())))
			removed = true
		}
	}
	if removed {
		errs = append(errs, s.fs.SyncDir(s.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, id := range pieces {
		if superfluous(id, kept) {
			errs = append(errs, s.fs.Remove(s.path(id.String())))
		}
	}
	return errors.Join(errs...)
}

// retained are the manifests that stay, of all, which are sorted newest first: the newest, and those of lowest loss.
func retained(all []*Manifest, c Config) []*Manifest {
	kept := slices.Clone(all[:min(c.Keep, len(all))])
	var measured []*Manifest
	for _, m := range all {
		if m.Loss != nil {
			measured = append(measured, m)
		}
	}
	slices.SortStableFunc(measured, func(a, b *Manifest) int { return cmp.Compare(*a.Loss, *b.Loss) })
	for _, m := range measured[:min(c.KeepBest, len(measured))] {
		if !slices.Contains(kept, m) {
			kept = append(kept, m)
		}
	}
	return kept
}

// superfluous says whether a piece may go. Its own manifest may be unknown here and committed elsewhere: then two newer
// ones must be known, which are on the disks of the members that made them possible.
func superfluous(id PieceID, kept []*Manifest) bool {
	newer := 0
	for _, m := range kept {
		if m.Step == id.Step && [8]byte(m.Digest[:8]) == [8]byte(id.Digest[:8]) && m.Data == id.Data {
			return false
		}
		if m.Step > id.Step {
			newer++
		}
	}
	return newer >= 2
}

// Remove deletes a committed checkpoint from this store, which only a person may ask for.
func (s *Store) Remove(m *Manifest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	pieces, err := s.Pieces()
	if err == nil {
		err = s.fs.Remove(s.path(m.name()))
	}
	if err == nil {
		err = s.fs.SyncDir(s.dir)
	}
	for _, id := range pieces {
		if err == nil && id.Step == m.Step && [8]byte(id.Digest[:8]) == [8]byte(m.Digest[:8]) {
			err = s.fs.Remove(s.path(id.String()))
		}
	}
	if err != nil {
		return fmt.Errorf("remove checkpoint of step %d from %s: %w", m.Step, s.dir, err)
	}
	return nil
}

package control

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/torctrain/torc/checkpoints"
	"github.com/torctrain/torc/internal/pb"
)

// keeping is what the coordinator knows of a run's checkpoints.
type keeping struct {
	hash      [32]byte  // of the run's spec, once it is needed
	committed []*kept   // as retention leaves them, the newest first
	dropped   []uint64  // steps of checkpoints that a person removed
	takings   []*taking // under way, by step
	from      *kept     // where the run went on from when its members were assigned; nil: from the beginning
	sources   []*pb.Holding
	waits     time.Time // since when the run waits to go on from a checkpoint; zero: it does not
	said      string    // why it waits, or how weak checkpoints are, as it was said last
}

// kept is a committed checkpoint.
type kept struct {
	manifest *checkpoints.Manifest
	text     []byte
	at       time.Time
	totals   runTotals
}

// runTotals are what a run has come to by a step; people want to know, no result depends on it.
type runTotals struct {
	LossFirst float64 `json:"loss_first"`
	LossLast  float64 `json:"loss_last"`
	Tokens    int64   `json:"tokens"`
	Seconds   float64 `json:"seconds"`
}

// taking is a checkpoint of which members report pieces.
type taking struct {
	step   uint64
	since  time.Time
	asked  time.Time // when further pieces were asked for last
	saved  []checkpoints.Saved
	totals runTotals
	failed bool // its pieces are not of one state
}

// pieceKey names the checkpoint that pieces are of.
type pieceKey struct {
	run    string
	step   uint64
	digest [8]byte
	data   int
}

func keyOf(m *checkpoints.Manifest) pieceKey {
	return pieceKey{m.Run, m.Step, [8]byte(m.Digest[:8]), m.Data}
}

const (
	// askAfter is how long after the first report of pieces further ones are asked for, and then again.
	askAfter = 3 * time.Second
	// lossAfter is how long a checkpoint waits for the validation loss of its step.
	lossAfter = time.Minute
	// maxTakings is how many checkpoints are under way at the most; the oldest are given up.
	maxTakings = 8
)

// offered notes what a node that begins to attend has of checkpoints.
func (c *core) offered(now time.Time, n *node, list []*pb.Kept) {
	if len(list) == 0 {
		return
	}
	n.kept, n.manifests = map[pieceKey][]int{}, map[string][][]byte{}
	for _, k := range list {
		if len(k.Digest) != 8 || len(k.Pieces) > checkpoints.MaxPieces {
			continue
		}
		key := pieceKey{k.Run, k.Step, [8]byte(k.Digest), int(k.Data)}
		n.has(key, k.Pieces...)
		if len(k.Manifest) > 0 {
			n.manifests[k.Run] = append(n.manifests[k.Run], k.Manifest)
		}
		if r := c.find(k.Run); r != nil && len(k.Manifest) == 0 {
			for _, have := range r.committed { // it was lost before it heard of it; nobody is harmed if it never does
				if keyOf(have.manifest) == key && n.run == r {
					c.send(n, committedOrder(r, have))
				}
			}
		}
	}
	for _, r := range c.runs {
		if r.rebuilt && !r.over() {
			c.recommit(now, r, n.manifests[r.id])
		}
		if r.from != nil && r.view == nil {
			c.reroute(r)
		}
	}
}

// has notes that n keeps pieces.
func (n *node) has(key pieceKey, indices ...int32) {
	if n.kept == nil {
		n.kept = map[pieceKey][]int{}
	}
	for _, i := range indices {
		if !slices.Contains(n.kept[key], int(i)) {
			n.kept[key] = append(n.kept[key], int(i))
		}
	}
	slices.Sort(n.kept[key])
}

func committedOrder(r *run, k *kept) *pb.Order {
	return &pb.Order{Kind: &pb.Order_Committed{Committed: &pb.Committed{Run: r.id, Manifest: k.text}}}
}

// saved takes what a node says has become durable.
func (c *core) saved(now time.Time, r *run, n *node, list []*pb.Saved) {
	for _, p := range list {
		s, err := savedFromPB(p)
		if err != nil || p.Run != r.id || r.over() {
			continue
		}
		if r.hash == ([32]byte{}) {
			r.hash = r.spec.Hash()
		}
		if s.Spec != r.hash {
			c.say(now, r, slog.LevelError, "node %s saved a State of the spec %x, this run's is %x", n.id.Name, s.Spec[:6], r.hash[:6])
			continue
		}
		var indices []int32
		for _, piece := range s.Pieces {
			indices = append(indices, int32(piece.Index))
		}
		n.has(pieceKey{r.id, s.Step, [8]byte(s.Digest[:8]), s.Data}, indices...)
		s.Holder = checkpoints.Holder{Name: n.id.Name, Host: n.labels["host"], Zone: n.labels["zone"]}
		if i := slices.IndexFunc(r.committed, func(k *kept) bool { return k.manifest.Step == s.Step }); i >= 0 {
			if k := r.committed[i]; k.manifest.Digest == s.Digest {
				c.send(n, committedOrder(r, k)) // it came too late to be named, and may be of use
			} else {
				c.say(now, r, slog.LevelError, "node %s saved another State of step %d than the checkpoint has: one of them is wrong", n.id.Name, s.Step)
			}
			continue
		}
		t := r.taking(now, s.Step)
		t.totals = runTotals{finite(p.LossFirst), finite(p.LossLast), p.Tokens, finite(p.Seconds)}
		t.add(s)
		c.commit(now, r, t)
	}
}

// taking returns the checkpoint under way of a step.
func (r *run) taking(now time.Time, step uint64) *taking {
	for _, t := range r.takings {
		if t.step == step {
			return t
		}
	}
	t := &taking{step: step, since: now}
	r.takings = append(r.takings, t)
	slices.SortFunc(r.takings, func(a, b *taking) int { return int(a.step) - int(b.step) })
	r.takings = r.takings[max(0, len(r.takings)-maxTakings):]
	return t
}

// add notes a report; a node reports again and more than once.
func (t *taking) add(s checkpoints.Saved) {
	for i := range t.saved {
		have := &t.saved[i]
		if have.Holder.Name != s.Holder.Name || have.Digest != s.Digest {
			continue
		}
		for _, p := range s.Pieces {
			if !slices.ContainsFunc(have.Pieces, func(q checkpoints.Piece) bool { return q.Index == p.Index }) {
				have.Pieces = append(have.Pieces, p)
			}
		}
		return
	}
	t.saved = append(t.saved, s)
}

// promise is how many members of the present view may be lost.
func (r *run) promise() int {
	if r.view == nil {
		return 0
	}
	return r.spec.Checkpoint.Losses(len(r.view.Members))
}

// commit makes t a checkpoint if what is durable of it survives what was promised.
func (c *core) commit(now time.Time, r *run, t *taking) {
	if t.failed || r.view == nil {
		return
	}
	for _, s := range t.saved[1:] {
		if first := t.saved[0]; s.Digest != first.Digest {
			t.failed = true
			c.say(now, r, slog.LevelError, "no checkpoint of step %d: %s and %s saved different States: one of them computes wrongly; please report", t.step, first.Holder.Name, s.Holder.Name)
			return
		}
	}
	loss, wait := r.lossAt(t.step)
	if wait && now.Sub(t.since) < lossAfter {
		return
	}
	m, err := checkpoints.Commit(r.id, r.promise(), loss, t.saved)
	if err != nil {
		return // too few so far
	}
	text, err := m.Bytes()
	if err != nil {
		c.say(now, r, slog.LevelError, "no checkpoint of step %d: %v", t.step, err)
		t.failed = true
		return
	}
	k := &kept{manifest: m, text: text, at: now, totals: t.totals}
	c.record(now, command{Kind: committed, Run: r.id, Step: m.Step, Manifest: text, Totals: &t.totals})
	r.retain(k)
	r.takings = slices.DeleteFunc(r.takings, func(o *taking) bool { return o.step <= t.step })
	c.say(now, r, slog.LevelInfo, "checkpoint of step %d: %s in %d pieces on %s", m.Step, bytesText(m.Size), len(m.Pieces), checkpoints.Describe(m.Holders))
	c.toMembers(r, committedOrder(r, k))
	r.version++
}

// lossAt is the validation loss after step, and whether it is still to come: it is told before the next step, by the one member
// that tells single steps, while the totals of any other may be ahead of that.
func (r *run) lossAt(step uint64) (loss *float64, wait bool) {
	for _, v := range r.progress.validations {
		if v.Step == step {
			return &v.Loss, false
		}
	}
	every := uint64(r.spec.Validate.Every)
	return nil, r.spec.Checkpoint.KeepBest > 0 && every > 0 && step%every == 0 && r.progress.reported <= step
}

// retain adds a checkpoint and forgets those that no member keeps any more.
func (r *run) retain(k *kept) {
	var all []*checkpoints.Manifest
	r.committed = append(slices.DeleteFunc(r.committed, func(o *kept) bool { return o.manifest.Step == k.manifest.Step }), k)
	for _, o := range r.committed {
		all = append(all, o.manifest)
	}
	var list []*kept
	for _, m := range checkpoints.Retained(all, r.spec.Checkpoint) {
		list = append(list, r.committed[slices.IndexFunc(r.committed, func(o *kept) bool { return o.manifest == m })])
	}
	r.committed = list
}

// recall takes up the checkpoints that the journal has.
func (r *run) recall(list []command) {
	for _, cmd := range list {
		m, err := checkpoints.ParseManifest(cmd.Manifest)
		if err != nil {
			continue // of a later version, or another run's: it cannot be loaded by this coordinator's members either
		}
		k := &kept{manifest: m, text: cmd.Manifest, at: time.Unix(0, cmd.At)}
		if cmd.Totals != nil {
			k.totals = *cmd.Totals
		}
		r.retain(k)
	}
}

// tend asks for pieces that are missing for a checkpoint.
func (c *core) tend(now time.Time, r *run) {
	for _, t := range slices.Clone(r.takings) {
		if r.spec.Checkpoint.KeepBest > 0 { // its loss may have come
			c.commit(now, r, t)
		}
		if !slices.Contains(r.takings, t) {
			continue
		}
		if t.failed || r.view == nil || now.Sub(t.since) < askAfter || now.Sub(t.asked) < askAfter {
			continue
		}
		t.asked = now
		c.commit(now, r, t)
		if !slices.Contains(r.takings, t) {
			continue
		}
		var holders []checkpoints.Holder
		var nodes []*node
		for _, s := range t.saved {
			i := slices.IndexFunc(c.sorted(), func(n *node) bool { return n.id.Name == s.Holder.Name && n.session != 0 && n.run == r })
			if i < 0 {
				continue
			}
			h := s.Holder
			for _, p := range s.Pieces {
				h.Has = append(h.Has, p.Index)
			}
			slices.Sort(h.Has)
			holders, nodes = append(holders, h), append(nodes, c.sorted()[i])
		}
		placed, _, err := checkpoints.Place(holders, r.spec.Checkpoint.Data, r.promise())
		if err != nil {
			continue // too few members have this State: the next checkpoint will do
		}
		for i, h := range placed {
			var more []int32
			for _, index := range h.Has {
				if !slices.Contains(holders[i].Has, index) {
					more = append(more, int32(index))
				}
			}
			if more != nil {
				c.send(nodes[i], &pb.Order{Kind: &pb.Order_Save{Save: &pb.Save{Run: r.id, Step: t.step, Pieces: more}}})
			}
		}
	}
}

// replace sees to the checkpoints of a view that has just been decided: what it cannot survive is said, and one is taken when
// the last has fewer holders than promised.
func (c *core) replace(now time.Time, r *run) {
	cfg := r.spec.Checkpoint
	if cfg.Every == 0 {
		return
	}
	var holders []checkpoints.Holder
	for _, m := range r.view.Members {
		holders = append(holders, checkpoints.Holder{Name: m.Node.Name, Host: m.Host, Zone: m.Zone})
	}
	_, weak, err := checkpoints.Place(holders, cfg.Data, cfg.Losses(len(holders)))
	text := strings.Join(weak, "; ")
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.said {
		c.say(now, r, slog.LevelWarn, "checkpoints: %s", text)
	}
	r.said = text
	if len(r.committed) == 0 {
		return
	}
	m := r.committed[0].manifest
	var left []checkpoints.Holder
	for _, h := range m.Holders {
		if slices.ContainsFunc(holders, func(o checkpoints.Holder) bool { return o.Name == h.Name }) {
			left = append(left, h)
		}
	}
	if got := checkpoints.Endure(left, m.Data).Members; got < m.Parity {
		c.say(now, r, slog.LevelInfo, "the checkpoint of step %d has fewer holders than promised: another one is taken", m.Step)
		c.toMembers(r, &pb.Order{Kind: &pb.Order_Save{Save: &pb.Save{Run: r.id}}})
	}
}

// awaitsLast says whether the end of a stopped run waits for the checkpoint of its last step, of which members have reported
// pieces before they reported the end.
func (c *core) awaitsLast(now time.Time, r *run) bool {
	if len(r.takings) == 0 || !r.stopping {
		return false
	}
	t := r.takings[len(r.takings)-1]
	return !t.failed && t.step < uint64(r.spec.Steps) && now.Sub(t.since) < 2*askAfter
}

func savedFromPB(p *pb.Saved) (s checkpoints.Saved, err error) {
	if len(p.Spec) != 32 || len(p.Digest) != 32 || len(p.Pieces) > checkpoints.MaxPieces {
		return s, fmt.Errorf("a report of saved pieces is malformed")
	}
	s = checkpoints.Saved{Spec: [32]byte(p.Spec), Step: p.Step, Data: int(p.Data)}
	s.Digest, s.Size = [32]byte(p.Digest), p.Size
	for _, q := range p.Pieces {
		if len(q.Sha256) != 32 || q.Index < 0 || q.Index >= checkpoints.MaxPieces {
			return s, fmt.Errorf("a report of saved pieces is malformed")
		}
		s.Pieces = append(s.Pieces, checkpoints.Piece{Index: int(q.Index), Sum: [32]byte(q.Sha256)})
	}
	return s, nil
}

// bytesText is a number of bytes for people.
func bytesText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}

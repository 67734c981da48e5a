package control

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/torctrain/torc/internal/cluster"
	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/spec"
	"github.com/torctrain/torc/internal/view"
)

var rewrite = flag.Bool("rewrite", false, "write what happens into testdata/*.txt; review the diff")

// TestScripts plays testdata/*.txt: lines at the margin are what happens to the coordinator, the indented lines below them
// what it does.
//
//	attend NODE [class=C] [boot=N]             a session begins; with boot, of a process that was started again
//	break NODE                                 it ends without a word
//	beat NODE [phase=P] [step=N] [digest=D] [error=E] [fatal] [tie=N] [lost=N] [why=BROKEN|REFUSED|SILENT] [stopped] [draining]
//	          [busy] [idle] [out=yes] [lane=S] [run=R]        out: it has not entered the latest view
//	ready NODE … [step=N]   train NODE …   finish NODE digest=D   idle NODE …     beats in that phase, of several nodes; who trains
//	prepare NODE …   join NODE …                                         has entered the latest view
//	step NODE N [seconds=S]                    rank 0 reports step N; everybody else beats
//	save NODE … step=N                         each has pieces of a State, as many as are needed to read it
//	dead NODE / live NODE                      gossip
//	launch RUN [lanes=N] [min=N] [max=N] [expect=N] [class=C] [missing=N]
//	arrive RUN                                 all its files
//	stop RUN
//	drain NODE
//	described NODE run=R [lanes=N] [view=I.N members=NODE,…] [join]      what it answers when asked; with a view, who owns lanes in turn
//	collected RUN [error=E] [unkept=E] [away=E]
//	wait DURATION [quiet=NODE,…]               time passes; everybody attending but the quiet beats every 500 ms
//	sleep DURATION                             the coordinator stands still
//	status / runs
//	crash                                      the coordinator starts again from its journal
//	lose                                       the same, without its journal
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := newPlay(t)
			var got strings.Builder
			for line := range strings.Lines(string(text)) {
				switch {
				case strings.HasPrefix(line, "\t"): // what happened last time
				case strings.HasPrefix(line, "#"), strings.TrimSpace(line) == "":
					got.WriteString(line)
				default:
					got.WriteString(line)
					got.WriteString(p.play(strings.TrimSpace(line)))
				}
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(text), got.String()); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

// play is a coordinator's core on a stage: nodes, a clock and a journal.
type play struct {
	t       testing.TB
	core    *core
	book    []command
	start   time.Time
	now     time.Time
	nodes   map[string]*actor
	order   []string
	session uint64
	states  map[string]string // of runs, as last printed
}

// actor is a node as the script moves it.
type actor struct {
	beat    *pb.Beat
	session uint64
	beatAt  time.Time
	kept    []*pb.Kept // of checkpoints
}

func newPlay(t testing.TB) *play {
	start := time.Unix(1e9, 0)
	p := &play{t: t, start: start, now: start, nodes: map[string]*actor{}, states: map[string]string{}}
	p.open()
	return p
}

// open starts a coordinator from the journal.
func (p *play) open() {
	b := &book{}
	cmds := append(p.book, command{Kind: started, At: p.now.UnixNano()})
	for _, c := range cmds {
		if err := b.apply(c); err != nil {
			p.t.Fatal(err)
		}
	}
	p.book = cmds
	p.core = newCore(DefaultTiming(), b)
}

func (p *play) play(line string) string {
	words := strings.Fields(line)
	var args []string
	opts := map[string]string{}
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			opts[key] = strings.ReplaceAll(value, "_", " ")
		} else if w == "stopped" || w == "draining" || w == "fatal" || w == "join" || w == "busy" || w == "idle" {
			opts[w] = "yes"
		} else {
			args = append(args, w)
		}
	}
	var out strings.Builder
	if err := p.act(words[0], args, opts, &out); err != nil {
		fmt.Fprintf(&out, "\trefused: %v\n", err)
	}
	out.WriteString(p.effects())
	return out.String()
}

func (p *play) act(verb string, args []string, opts map[string]string, out *strings.Builder) error {
	switch verb {
	case "attend":
		return p.attend(args[0], opts)
	case "break":
		p.core.left(p.now, p.nodes[args[0]].session)
		p.nodes[args[0]].session = 0
	case "beat":
		p.change(args[0], opts)
		p.beat(args[0])
	case "idle", "ready", "train", "finish", "prepare", "join":
		phase := map[string]string{"idle": "IDLE", "ready": "READY", "train": "TRAINING", "finish": "FINISHED", "prepare": "PREPARING", "join": "JOINING"}[verb]
		for _, name := range args {
			opts["phase"] = phase
			p.change(name, opts)
			p.beat(name)
		}
	case "step":
		return p.step(args[0], args[1], opts["seconds"])
	case "save":
		p.save(args, uint64(number(opts, "step", 0)))
	case "dead", "live":
		kind := map[string]cluster.EventKind{"dead": cluster.Lost, "live": cluster.Joined}[verb]
		p.core.heard(cluster.Event{Kind: kind, Peer: cluster.Peer{Node: p.nodes[args[0]].beat.Node.ID()}})
	case "launch":
		return p.launch(args[0], opts)
	case "arrive":
		for sum := range p.core.find(args[0]).missing {
			p.core.arrived(p.now, sum)
		}
	case "drain":
		return p.core.drain(args[0])
	case "stop":
		return p.core.stop(p.now, p.core.find(args[0]))
	case "collected":
		var err error
		if opts["error"] != "" {
			err = errors.New(opts["error"])
		}
		if opts["away"] != "" {
			err = fmt.Errorf("%w: %s", errAway, opts["away"])
		}
		if opts["unkept"] != "" {
			err = fmt.Errorf("%w: %s", errUnkept, opts["unkept"])
		}
		p.core.collected(p.now, p.core.find(args[0]), err)
	case "wait":
		return p.wait(args[0], opts["quiet"], out)
	case "sleep":
		d, err := time.ParseDuration(args[0])
		p.now = p.now.Add(d)
		p.core.tick(p.now)
		return err
	case "status":
		p.status(out)
	case "runs":
		p.runs(out)
	case "described":
		return p.described(args[0], opts)
	case "crash", "lose":
		if verb == "lose" {
			p.book, p.states = nil, map[string]string{}
		}
		p.open()
		for _, a := range p.nodes {
			a.session = 0
		}
	default:
		return fmt.Errorf("unknown verb %s", verb)
	}
	return nil
}

func (p *play) attend(name string, opts map[string]string) error {
	a := p.nodes[name]
	if a == nil || opts["boot"] != "" {
		boot, _ := strconv.ParseUint(opts["boot"], 10, 64)
		a = &actor{beat: &pb.Beat{Node: &pb.NodeID{Name: name, Boot: max(boot, 1)}, Addr: name + ":1", Class: "cpu-1"}}
	}
	if opts["class"] != "" {
		a.beat.Class = opts["class"]
	}
	p.session++
	a.session, a.beatAt, a.beat.Kept = p.session, p.now, a.kept
	_, err := p.core.attend(p.now, a.session, a.beat)
	a.beat.Kept = nil
	if err == nil && p.nodes[name] == nil {
		p.order = append(p.order, name)
	}
	if err == nil {
		p.nodes[name] = a
	}
	p.core.tick(p.now)
	return err
}

// change sets what a node will say.
func (p *play) change(name string, opts map[string]string) {
	b := p.nodes[name].beat
	switch opts["phase"] {
	case "": // as before
	case "TRAINING":
		b.LostPeer = "" // it enters a view
	default:
		b.LostPeer, b.ViewNumber = "", 0
	}
	for key, value := range opts {
		switch key {
		case "phase":
			b.Phase = pb.Phase(pb.Phase_value["PHASE_"+strings.ToUpper(value)])
		case "step":
			b.Step, _ = strconv.ParseUint(value, 10, 64)
		case "digest":
			b.Digest = []byte(value)
		case "error":
			b.Error = value
		case "lost":
			b.LostPeer, b.LostWhy = value, pb.Loss_LOSS_BROKEN
			if why := opts["why"]; why != "" {
				b.LostWhy = pb.Loss(pb.Loss_value["LOSS_"+strings.ToUpper(why)])
			}
		case "lane":
			b.LaneSeconds, _ = strconv.ParseFloat(value, 64)
		case "draining":
			b.Draining = true
		case "fatal":
			b.Fatal = true
		case "busy", "idle":
			b.Busy = key == "busy"
		case "tie":
			if b.Tie = nil; value != "none" {
				b.Tie = &pb.Tie{Step: uint64(number(opts, "tie", 0))}
			}
		case "stopped":
			b.Stopped = true
		case "run":
			b.Run = value
		}
	}
	if _, ok := opts["run"]; !ok {
		b.Run = ""
		if n := p.core.nodes[b.Node.ID()]; n != nil && n.run != nil && b.Phase != pb.Phase_PHASE_IDLE {
			b.Run = n.run.id
		}
	}
	if b.Phase == pb.Phase_PHASE_IDLE {
		b.Error, b.LostPeer, b.Digest, b.Stopped, b.Step, b.View, b.Totals = "", "", nil, false, 0, 0, nil
		b.Fatal, b.Tie = false, nil
	}
	if r := p.core.find(b.Run); r != nil && opts["phase"] == "READY" && opts["step"] == "" {
		b.Step = r.progress.step // it is level
	}
	if b.Phase == pb.Phase_PHASE_TRAINING || b.Phase == pb.Phase_PHASE_FINISHED {
		if r := p.core.find(b.Run); r != nil && r.view != nil && opts["out"] == "" {
			b.ViewNumber = r.view.Number
		}
	}
}

func (p *play) beat(name string) {
	a := p.nodes[name]
	a.beatAt = p.now
	p.core.beat(p.now, a.session, a.beat)
	a.beat.Steps = nil
	p.core.tick(p.now)
}

func (p *play) step(name, number, seconds string) error {
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return err
	}
	took := 0.5
	if seconds != "" {
		if took, err = strconv.ParseFloat(seconds, 64); err != nil {
			return err
		}
	}
	for _, other := range p.order {
		p.nodes[other].beat.Step = n
		p.nodes[other].beat.Totals = &pb.Totals{Step: n, LossFirst: 1, LossLast: 1 / float64(n), Tokens: int64(100 * n), Seconds: 0.5 * float64(n)}
	}
	b := p.nodes[name].beat
	b.Steps = []*pb.StepReport{{Step: n, Loss: 1 / float64(n), Tokens: 100, Counted: 50, Seconds: took, View: b.ViewNumber}}
	b.Made = []*pb.FirstStep{{View: b.ViewNumber, Step: n}} // of a view's, the first one counts
	p.beat(name)
	return nil
}

// save lets nodes report pieces of a State.
func (p *play) save(names []string, step uint64) {
	for i, name := range names {
		b := p.nodes[name].beat
		r := p.core.find(b.Run)
		hash := r.spec.Hash()
		s := &pb.Saved{Run: b.Run, Spec: hash[:], Step: step, Data: 2, Digest: bytes.Repeat([]byte{byte(step)}, 32), Size: 100}
		for j := range s.Data {
			s.Pieces = append(s.Pieces, &pb.SavedPiece{Index: s.Data*int32(i) + j, Sha256: make([]byte, 32)})
		}
		k := &pb.Kept{Run: b.Run, Step: step, Digest: s.Digest[:8], Data: s.Data}
		for _, piece := range s.Pieces {
			k.Pieces = append(k.Pieces, piece.Index)
		}
		p.nodes[name].kept = append(p.nodes[name].kept, k)
		b.Saved = []*pb.Saved{s}
		p.beat(name)
		b.Saved = nil
	}
}

// described answers for a node.
func (p *play) described(name string, opts map[string]string) error {
	d := &pb.Description{Cluster: "old", Assignment: &pb.Assignment{Run: opts["run"], Join: opts["join"] != ""}}
	r := resolve(opts["run"], opts)
	var err error
	if d.Assignment.Spec, err = r.JSON(); err != nil {
		return err
	}
	if opts["view"] != "" {
		d.View = &pb.View{Run: opts["run"]}
		if _, err := fmt.Sscanf(opts["view"], "%d.%d", &d.View.Incarnation, &d.View.Number); err != nil {
			return err
		}
		for i, member := range strings.Split(opts["members"], ",") {
			d.View.Members = append(d.View.Members, &pb.Member{Node: &pb.NodeID{Name: member, Boot: 1}, Addr: member + ":1"})
			d.View.Ring = append(d.View.Ring, int32(i))
		}
		for lane := range r.Batch.Lanes {
			d.View.Owner = append(d.View.Owner, int32(lane%len(d.View.Members)))
		}
	}
	p.core.described(p.now, p.nodes[name].beat.Node.ID(), d)
	p.core.tick(p.now)
	return nil
}

// number is the value of an option.
func number(opts map[string]string, key string, otherwise int) int {
	if n, err := strconv.Atoi(opts[key]); err == nil {
		return n
	}
	return otherwise
}

// resolve makes the spec of a run.
func resolve(id string, opts map[string]string) *spec.Resolved {
	r := &spec.Resolved{Spec: spec.Default("lift"), Samples: 10, Class: opts["class"]}
	r.Name, r.Model, r.Data.Train, r.Steps = id, "base", []string{"t"}, 10
	r.Batch.Lanes, r.Members = number(opts, "lanes", 4), spec.Members{Min: number(opts, "min", 1), Max: number(opts, "max", 0)}
	for i := range max(1, number(opts, "missing", 0)) {
		r.Files = append(r.Files, spec.File{SHA256: spec.Sum{byte(i)}, Size: 1, Path: "/t", Role: fmt.Sprintf("train/%d", i)})
	}
	return r
}

func (p *play) launch(id string, opts map[string]string) error {
	r := resolve(id, opts)
	missing := map[spec.Sum]int64{}
	for i := range number(opts, "missing", 0) {
		missing[r.Files[i].SHA256] = 1
	}
	text, err := r.JSON()
	if err != nil {
		return err
	}
	err = p.core.launch(p.now, command{Run: id, Spec: text, Expect: number(opts, "expect", 0)}, missing)
	p.core.tick(p.now)
	return err
}

func (p *play) wait(text, quiet string, out *strings.Builder) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(tickEvery)
		for _, name := range p.order {
			a := p.nodes[name]
			if a.session != 0 && p.now.Sub(a.beatAt) >= 500*time.Millisecond && !strings.Contains(","+quiet+",", ","+name+",") {
				a.beatAt = p.now
				p.core.beat(p.now, a.session, a.beat)
			}
		}
		p.core.tick(p.now)
		if effects := p.effects(); effects != "" {
			fmt.Fprintf(out, "\t+%v\n%s", end.Sub(p.now).Round(time.Millisecond)*-1+d, effects)
		}
	}
	return nil
}

// effects prints what the core did and how runs changed, and carries out what concerns the stage.
func (p *play) effects() string {
	var b strings.Builder
	bySession := map[uint64]string{}
	for _, name := range p.order {
		bySession[p.nodes[name].session] = name
	}
	for _, e := range p.core.take() {
		switch e := e.(type) {
		case record:
			p.book = append(p.book, e.command)
			fmt.Fprintf(&b, "\tjournal: %s %s", e.command.Kind, e.command.Run)
			if e.command.Class != "" {
				fmt.Fprintf(&b, " %s", e.command.Class)
			}
			if v := e.command.View; v != nil {
				fmt.Fprintf(&b, " %d.%d owner=%v", v.Incarnation, v.Number, v.Owner)
				if v.Relay {
					fmt.Fprintf(&b, " ring=%v", v.Ring)
				}
			}
			if e.command.Kind == stepped {
				fmt.Fprintf(&b, " view %d from step %d", e.command.Number, e.command.Step)
			}
			b.WriteString("\n")
		case order:
			fmt.Fprintf(&b, "\tto %s: %s\n", bySession[e.session], orderText(e.order))
		case inquiry:
			fmt.Fprintf(&b, "\task %s what it works for\n", e.node.Node.Name)
		case line:
			fmt.Fprintf(&b, "\t%s: %s\n", e.line.Level, e.line.Text)
		case collection:
			fmt.Fprintf(&b, "\tcollect %s digest %s from %s\n", e.run.id, e.digest, memberNames(e.holders))
		}
	}
	for _, r := range p.core.runs {
		if text := stateName(r.state) + ": " + r.why; p.states[r.id] != text {
			p.states[r.id] = text
			fmt.Fprintf(&b, "\trun %s is %s\n", r.id, strings.TrimSuffix(text, ": "))
		}
	}
	return b.String()
}

func orderText(o *pb.Order) string {
	switch o := o.Kind.(type) {
	case *pb.Order_Assign:
		if o.Assign.Join {
			return fmt.Sprintf("join %s with State from %s", o.Assign.Run, strings.Join(o.Assign.Peers, ", "))
		}
		if o.Assign.From != nil {
			return fmt.Sprintf("assign %s from a checkpoint, with pieces on %d nodes", o.Assign.Run, len(o.Assign.From.Holders))
		}
		return "assign " + o.Assign.Run
	case *pb.Order_View:
		if o.View.Now {
			return fmt.Sprintf("view %d now", o.View.Number)
		}
		return fmt.Sprintf("view %d", o.View.Number)
	case *pb.Order_Leave:
		return "leave"
	case *pb.Order_Committed:
		return "a checkpoint of " + o.Committed.Run
	case *pb.Order_Release:
		return fmt.Sprintf("release %s (%s)", o.Release.Run, o.Release.Why)
	case *pb.Order_Stop:
		return "stop " + o.Stop.Run
	}
	return "nothing"
}

func memberNames(all []view.Member) string {
	var names []string
	for _, m := range all {
		names = append(names, m.Node.Name)
	}
	return strings.Join(names, ", ")
}

func (p *play) status(out *strings.Builder) {
	for _, n := range p.core.nodeInfos(p.now) {
		phase := strings.ToLower(strings.TrimPrefix(n.Phase.String(), "PHASE_"))
		fmt.Fprintf(out, "\t%s#%d %s run=%q lanes=%d %s\n", n.Node.Name, n.Node.Boot, phase, n.Run, n.Lanes, n.Error)
	}
	if r := p.core.atWork(); r != nil {
		fmt.Fprintf(out, "\tat work: %s\n", r.id)
	}
}

func (p *play) runs(out *strings.Builder) {
	for _, r := range p.core.runs {
		i := p.core.info(p.now, r)
		fmt.Fprintf(out, "\t%s %s step=%d/%d loss=%.2f→%.2f tokens/s=%.0f eta=%.1f members=%d digest=%s: %s\n", i.Run, stateName(i.State), i.Step, i.Steps,
			i.LossFirst, i.LossLast, i.TokensPerSecond, i.EtaSeconds, len(i.GetView().GetMembers()), bytes.TrimRight(i.Digest, "\x00"), i.Why)
	}
}

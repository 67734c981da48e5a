package control

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/torctrain/torc/internal/pb"
	"github.com/torctrain/torc/internal/view"
)

// history is one of every command.
func history(t *testing.T) []command {
	t.Helper()
	text, err := resolved(t, t.TempDir()).JSON()
	if err != nil {
		t.Fatal(err)
	}
	info, err := marshalInfo(&pb.RunInfo{Run: "a", State: pb.RunState_RUN_FINISHED, Step: 3})
	if err != nil {
		t.Fatal(err)
	}
	v := &view.View{Run: "a", Number: 1, Members: []view.Member{{Node: node1("x"), Addr: "x:1"}}, Owner: []int{0}, Ring: []int{0}}
	return []command{
		{Kind: founded, Cluster: "c"},
		{Kind: started},
		{Kind: launched, Run: "a", Spec: text, Expect: 2, At: 5},
		{Kind: pinned, Run: "a", Class: "cpu-1"},
		{Kind: viewed, Run: "a", View: v, Step: 1},
		{Kind: ended, Run: "a", Step: 3, Info: info},
		{Kind: launched, Run: "b", Spec: text},
		{Kind: viewed, Run: "b", View: v, Step: 1},
		{Kind: launched, Run: "c", Spec: text},
	}
}

func TestJournalGivesBackWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	j, b, err := openJournal(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, cmd := range history(t) {
		if i%2 == 0 { // alone, and together with others
			err = j.append(cmd)
		} else {
			err = j.append(cmd, command{Kind: started})
			if err == nil {
				err = b.apply(command{Kind: started})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := &book{}
	for i, cmd := range history(t) {
		if err := want.apply(cmd); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			if err := want.apply(command{Kind: started}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	j, got, err := openJournal(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if got.cluster != "c" || got.incarnation != want.incarnation || len(got.runs) != 3 {
		t.Fatalf("book is %+v", got)
	}
	a := got.runs[0]
	if a.spec.Class != "cpu-1" || !a.pinned || a.Expect != 2 || a.info.GetStep() != 3 || a.last.Step != 3 || len(a.views) != 1 || !reflect.DeepEqual(a.views[0].View, want.runs[0].views[0].View) {
		t.Errorf("run a is %+v", a)
	}
	written := func() (transaction int) {
		_ = j.db.View(func(tx *bbolt.Tx) error { transaction = tx.ID(); return nil }) // it has no error of its own
		return transaction
	}
	before := written()
	if _, err := j.read(); err != nil || written() != before {
		t.Errorf("who reads the journal writes to it: transaction %d, %d before; %v", written(), before, err)
	}
}

func TestBookRefusesWhatCannotHaveHappened(t *testing.T) {
	cmds := history(t)
	for _, c := range []struct {
		cmd  command
		want string
	}{
		{cmds[2], "launched twice"},
		{command{Kind: viewed, Run: "z"}, "never launched"},
		{command{Kind: "dreamt", Run: "a"}, "upgrade the coordinator"},
		{command{Kind: launched, Run: "z", Spec: []byte("{}")}, "launch run z"},
		{command{Kind: ended, Run: "b", Info: []byte("x")}, "read how run b ended"},
	} {
		b := &book{}
		for _, cmd := range cmds {
			if err := b.apply(cmd); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.apply(c.cmd); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("apply(%+v): %v, want an error with %q", c.cmd, err, c.want)
		}
	}
}

func TestJournalOfAnotherFormatIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	j, _, err := openJournal(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(magicKey, []byte("torc journal 2")) }); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openJournal(dir, false); err == nil || !strings.Contains(err.Error(), `format is "torc journal 2"`) {
		t.Errorf("opened it: %v", err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "coordinator.db"), []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openJournal(other, false); err == nil || !strings.Contains(err.Error(), "coordinator.db") {
		t.Errorf("opened what is no journal: %v", err)
	}
}

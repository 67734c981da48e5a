package sharding

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// corpus is a dataset of n samples in two files, every third of which is a text.
func corpus(t testing.TB, n int) *Dataset {
	t.Helper()
	var files [2]strings.Builder
	for i := range n {
		f := &files[i*2/n]
		if i%3 == 0 {
			fmt.Fprintf(f, "{\"text\":\"sample %d\"}\n", i)
		} else {
			fmt.Fprintf(f, "{\"prompt\":\"%d is\",\"completion\":\"%s\"}\n", i, strings.Repeat("x", i%11))
		}
	}
	d, err := IndexFiles([]File{{Path: write(t, "a.jsonl", files[0].String()), Name: "a"}, {Path: write(t, "b.jsonl", files[1].String()), Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func cacheFiles(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// epoch returns the examples of an epoch by sample's place in the dataset, and checks them against the encoder.
func epoch(t testing.TB, r *Reader, plan Plan) {
	t.Helper()
	for step := range uint64(plan.Steps()) {
		for lane := range plan.Lanes {
			got, err := r.Examples(step+1, lane)
			if err != nil {
				t.Fatal(err)
			}
			samples := plan.At(step+1, lane)
			if len(got) != len(samples) {
				t.Fatalf("step %d, lane %d: %d examples, want %d", step+1, lane, len(got), len(samples))
			}
			for i, s := range samples {
				raw, where, err := r.data.Sample(s)
				if err != nil {
					t.Fatal(err)
				}
				want, err := r.enc.Encode(raw, where)
				if err != nil {
					t.Fatal(err)
				}
				want.Answer, want.Empty = "", false
				if !reflect.DeepEqual(got[i], want) {
					t.Fatalf("sample %d is %+v, want %+v", s, got[i], want)
				}
			}
		}
	}
}

func TestReaderGivesTheSamplesOfThePlan(t *testing.T) {
	d, cache := corpus(t, 100), t.TempDir()
	plan := Plan{N: 100, ShardLen: 7, Micro: 3, Lanes: 4, Seed: 1}
	enc := NewEncoder(bytewise(t, "<|end|>"), Config{MaxTokens: 9, Overflow: "truncate"})
	for name, r := range map[string]*Reader{
		"without cache": NewReader(d, plan, enc, ""),
		"cold cache":    NewReader(d, plan, enc, cache),
	} {
		t.Run(name, func(t *testing.T) { epoch(t, r, plan) })
	}
	if files := cacheFiles(t, cache); len(files) != plan.Shards() {
		t.Errorf("%d cache files, want %d", len(files), plan.Shards())
	}
	t.Run("warm cache", func(t *testing.T) { epoch(t, NewReader(d, plan, enc, cache), plan) })
}

func TestCacheIsNotSharedByWhatDiffers(t *testing.T) {
	d, cache := corpus(t, 20), t.TempDir()
	plan := NewPlan(20, 1, 1, 1)
	tok := bytewise(t, "<|end|>")
	for i, c := range []Config{{MaxTokens: 6, Overflow: "truncate"}, {MaxTokens: 7, Overflow: "truncate"}, {}} {
		epoch(t, NewReader(d, plan, NewEncoder(tok, c), cache), plan)
		if files := cacheFiles(t, cache); len(files) != i+1 {
			t.Errorf("%d cache files after %d configurations", len(files), i+1)
		}
	}
}

func TestDamagedCacheFilesAreMadeAnew(t *testing.T) {
	d, cache := corpus(t, 20), t.TempDir()
	plan := NewPlan(20, 1, 1, 1)
	enc := NewEncoder(bytewise(t, "<|end|>"), Config{})
	epoch(t, NewReader(d, plan, enc, cache), plan)
	path := cacheFiles(t, cache)[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, rot := range map[string][]byte{
		"empty": {}, "cut": whole[:len(whole)/2], "longer": append(bytes.Clone(whole), 0),
		"a bit": append(append(bytes.Clone(whole[:60]), whole[60]^4), whole[61:]...),
	} {
		if err := os.WriteFile(path, rot, 0o644); err != nil {
			t.Fatal(err)
		}
		epoch(t, NewReader(d, plan, enc, cache), plan)
		if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, whole) {
			t.Errorf("%s: the cache file is not made anew (%v)", name, err)
		}
	}
	if files := cacheFiles(t, cache); len(files) != 1 {
		t.Errorf("left in the cache: %v", files)
	}
}

func TestCacheForgetsWhatKilledProcessesLeft(t *testing.T) {
	d, cache := corpus(t, 20), t.TempDir()
	old := time.Now().Add(-25 * time.Hour)
	want := map[string]bool{".tokens-1": false, ".samples-1": false, ".tokens-2": true, "0123": true}
	for name := range want {
		path := filepath.Join(cache, "ab", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if name == ".tokens-2" {
			continue // of a process that lives
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	plan := NewPlan(20, 1, 1, 1)
	epoch(t, NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{}), cache), plan)
	for name, want := range want {
		if _, err := os.Stat(filepath.Join(cache, "ab", name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
}

func TestReadingGoesOnWhenTokensCannotBeKept(t *testing.T) {
	d := corpus(t, 20)
	plan := NewPlan(20, 1, 1, 1)
	notDirectory := write(t, "file", "")
	r := NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{}), filepath.Join(notDirectory, "cache"))
	epoch(t, r, plan)
	if err := r.CacheError(); err == nil || !strings.Contains(err.Error(), "keep tokens") {
		t.Errorf("CacheError is %v", err)
	}
}

func TestDigestsAreThoseOfTheTokens(t *testing.T) {
	d, cache := corpus(t, 60), t.TempDir()
	plan := Plan{N: 60, ShardLen: 16, Micro: 1, Lanes: 3, Seed: 1}
	enc := NewEncoder(bytewise(t, "<|end|>"), Config{})
	made, found := NewReader(d, plan, enc, cache), NewReader(d, plan, enc, cache)
	seen := map[[32]byte]int{}
	for shard := range plan.Shards() {
		a, err := made.Digest(shard)
		if err != nil {
			t.Fatal(err)
		}
		b, err := found.Digest(shard)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := seen[a]; ok || a != b {
			t.Errorf("shard %d has digest %x made and %x found, shard %d the same", shard, a, b, was)
		}
		seen[a] = shard
	}
	if got := made.Digests(); len(got) != plan.Shards() {
		t.Errorf("%d digests, want %d", len(got), plan.Shards())
	}
	other := NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{MaxTokens: 5, Overflow: "truncate"}), cache)
	if a, err := other.Digest(0); err != nil || seen[a] != 0 || a == made.Digests()[0] {
		t.Errorf("other tokens have the same digest (%v)", err)
	}
}

func TestErrorsNameTheSampleAndAreNotRemembered(t *testing.T) {
	path := write(t, "d.jsonl", `{"text":"abcd"}`+"\n"+`{"text":"abcdefgh"}`)
	d, err := Index([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	plan := NewPlan(2, 2, 1, 1)
	r := NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{MaxTokens: 6, Overflow: "refuse"}), "")
	for range 2 {
		if _, err := r.Examples(1, 0); err == nil || !strings.HasPrefix(err.Error(), path+":2: sample has 9 tokens") {
			t.Errorf("error %v", err)
		}
	}
	if len(r.shards) != 0 {
		t.Error("a shard that could not be read is held")
	}
}

func TestPrefetchReadsWhatComesNext(t *testing.T) {
	d := corpus(t, 120)
	plan := Plan{N: 120, ShardLen: 10, Micro: 1, Lanes: 2, Seed: 5}
	r := NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{}), "")
	r.Prefetch(t.Context(), 5, []int{1})
	for step := uint64(5); step <= 15; step++ {
		for _, s := range plan.At(step, 1) {
			if r.shards[plan.ShardOf(s)] == nil {
				t.Errorf("step %d needs shard %d, which is not there", step, plan.ShardOf(s))
			}
		}
	}
	if len(r.shards) > 3 {
		t.Errorf("%d shards are read for one lane", len(r.shards))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	before := len(r.shards)
	r.Prefetch(ended, 5, []int{0})
	if len(r.shards) != before {
		t.Error("shards are read after the context has ended")
	}
	r.Prefetch(t.Context(), uint64(plan.Steps()), []int{0})
	for _, s := range plan.At(uint64(plan.Steps())+1, 0) {
		if r.shards[plan.ShardOf(s)] == nil {
			t.Error("the next epoch's first shard is not there")
		}
	}
}

func TestCheckFindsTheSampleThatWouldEndTheRun(t *testing.T) {
	text := strings.Repeat(`{"text":"abcd"}`+"\n", 90)
	long := `{"text":"abcdefgh"}` + "\n"
	path := write(t, "d.jsonl", text+long+text+long+text)
	d, err := Index([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	plan := Plan{N: d.Len(), ShardLen: 8, Micro: 2, Lanes: 3, Seed: 9}
	enc := NewEncoder(bytewise(t, "<|end|>"), Config{MaxTokens: 6, Overflow: "refuse"})
	if err := NewReader(d, plan, enc, "").Check(t.Context(), []int{0, 1, 2}); err == nil || !strings.HasPrefix(err.Error(), path+":91: sample has 9 tokens") {
		t.Errorf("the check of all lanes says %v, want the first long sample of the dataset", err)
	}
	for lane := range plan.Lanes {
		if checked, trained := NewReader(d, plan, enc, "").Check(t.Context(), []int{lane}), epochError(NewReader(d, plan, enc, ""), lane); (checked == nil) != (trained == nil) {
			t.Errorf("lane %d: the check says %v, an epoch %v", lane, checked, trained)
		}
	}
}

// epochError returns the first error that lane meets in an epoch.
func epochError(r *Reader, lane int) error {
	for step := range uint64(r.plan.Steps()) {
		if _, err := r.Examples(step+1, lane); err != nil {
			return err
		}
	}
	return nil
}

func TestCheckReadsEveryShardOnceAndKeepsIt(t *testing.T) {
	d, cache := corpus(t, 200), t.TempDir()
	plan := Plan{N: 200, ShardLen: 3, Micro: 2, Lanes: 3, Seed: 9}
	enc := NewEncoder(bytewise(t, "<|end|>"), Config{})
	r := NewReader(d, plan, enc, cache)
	for _, lanes := range [][]int{{1}, {0, 2}} {
		if err := r.Check(t.Context(), lanes); err != nil {
			t.Fatal(err)
		}
	}
	if read, files := len(r.Digests()), len(cacheFiles(t, cache)); read != plan.Shards() || files != plan.Shards() {
		t.Errorf("%d shards are read and %d kept, want %d", read, files, plan.Shards())
	}
	if len(r.shards) > 2*plan.Lanes+2 {
		t.Errorf("%d shards are held, want at most %d", len(r.shards), 2*plan.Lanes+2)
	}
	uses := r.clock
	if err := r.Check(t.Context(), []int{0, 1, 2}); err != nil || r.clock != uses {
		t.Errorf("a second check reads %d shards again (%v)", r.clock-uses, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewReader(d, plan, enc, cache).Check(ended, []int{0}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context has ended the check says %v", err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	d := corpus(t, 200)
	plan := Plan{N: 200, ShardLen: 2, Micro: 1, Lanes: 3, Seed: 5}
	r := NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{}), "")
	epoch(t, r, plan)
	if len(r.shards) > 2*plan.Lanes+2 {
		t.Errorf("%d shards are held, want at most %d", len(r.shards), 2*plan.Lanes+2)
	}
}

func TestManyGoroutinesMayRead(t *testing.T) {
	d := corpus(t, 100)
	plan := Plan{N: 100, ShardLen: 8, Micro: 2, Lanes: 5, Seed: 5}
	r := NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{}), t.TempDir())
	var group sync.WaitGroup
	for lane := range plan.Lanes {
		group.Go(func() {
			for step := range uint64(plan.Steps()) {
				if _, err := r.Examples(step+1, lane); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Go(func() { r.Prefetch(t.Context(), 1, []int{0, 1, 2, 3, 4}) })
	group.Wait()
	epoch(t, r, plan)
}

func TestGoroutinesMayReadWhileShardsAreForgotten(t *testing.T) {
	d := corpus(t, 400)
	plan := Plan{N: 400, ShardLen: 4, Micro: 1, Lanes: 1, Seed: 5}
	r := NewReader(d, plan, NewEncoder(bytewise(t, "<|end|>"), Config{}), "")
	var group sync.WaitGroup
	for first := range 4 {
		group.Go(func() {
			for shard := first; shard < plan.Shards(); shard += 4 {
				if _, err := r.Read([]Sample{Sample(shard * plan.ShardLen)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := len(r.Digests()); got != plan.Shards() {
		t.Errorf("%d shards were read, want %d", got, plan.Shards())
	}
}

func FuzzCacheFileIsWholeOrRotten(f *testing.F) {
	var key [32]byte
	examples := []Example{{Tokens: []int32{1, 2, 3}, Counted: []bool{false, true, true}, PromptTokens: 1}, {Tokens: []int32{}, Counted: []bool{}}}
	f.Add(appendExamples(nil, examples), 2)
	f.Add(appendExamples(nil, []Example{{Tokens: []int32{7}, Counted: []bool{false}, PromptTokens: 2}}), 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3}, 1<<31-1)
	f.Fuzz(func(t *testing.T, body []byte, count int) {
		// The checksum is made right here, so that the fuzzer reaches what lies behind it.
		data := append(append([]byte(cacheMagic), cacheVersion, 0), key[:]...)
		data = append(data, body...)
		sum := sha256.Sum256(data)
		data = append(data, sum[:]...)
		got, err := decodeCache(data, key, count)
		if err != nil {
			return
		}
		if len(got.examples) != count {
			t.Fatalf("%d examples, want %d", len(got.examples), count)
		}
		for _, x := range got.examples {
			if len(x.Counted) != len(x.Tokens) || x.PromptTokens > len(x.Tokens) {
				t.Fatalf("example %+v", x)
			}
		}
	})
}

// Command quality compares what the methods learn from one base at one budget, and what they forget.
//
//	data ─→ for each method: a sweep of rates with one seed ─→ the best rate with more seeds ─→ table, curves
//	         while the best rate is the highest or lowest tried, the next one is tried too
//	         each run: launch --local 1 on one core, then eval on the target and on the base's own tasks
//
// Runs go through bin/coordinator as anybody's would, each pinned to a core, as many at once as there are cores. What is done is
// kept in results.jsonl, so that a comparison that was broken off goes on where it was; another spec is another result.
//
//	make quality                                    everything, half an hour on two idle cores
//	go run ./bench/quality -methods lift,lora -seeds 1 -rates 1    a part
//
// The budget is K of LoRA of rank 4, and every method comes as near as its unit allows; full has none.
//
// Start reading at methods.go (what is compared), then compare.go, run.go and report.go.
package main

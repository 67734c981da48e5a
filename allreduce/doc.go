// Package allreduce adds up one vector over the members of a view, exactly, and hands the same total to each of them.
//
// Gradients become integers under a scale that all members share (Quantise), are summed with wrap-around (Ring.Sum), and
// become floats again (Dequantise). Integer addition is associative, so which member computed which lane, in which order
// they stand on the ring and how the vector was cut cannot change one bit of the result. What travels beside the vector
// (Side) proves that each lane is in the sum exactly once and that nothing can have overflowed (Scales.Judge); a step
// that fails this is tried again under better scales and never used.
//
//	lane 0 ─ Quantise ┐                                          ┌ Judge ─ Dequantise ─ …   the same bits
//	lane 3 ─ Quantise ┴ own, Side ─▶ member 0 ═══▶ member 1 ═ … ─┤                           on every member
//	lane 1 ─ Quantise ─ own, Side ─▶ member 1   ◀═══ ring ════   └ Judge ─ Dequantise ─ …
//
// A long vector goes round the ring in segments, each as a reduce-scatter and an all-gather (schedule); a short one is
// exchanged by everyone with everyone in one round. Frames carry where they belong: run, view, ring, step, try, space
// and a hash of State. A frame from elsewhere is refused with ErrFenced before it is added.
//
// # Guarantees
//
//   - Totals equal the sum of all members' vectors modulo 2^32, for any number of members, order, packing and framing.
//   - own is only read; what is half done stays in frames and in total until Sum returns.
//   - A neighbour that dies, resets its link or is silent for HopTimeout ends the ring with a PeerError that names it, on
//     the members it is reported to as well. The process goes on; the next attempt is a new Ring. Where frames come slowly
//     or irregularly, silence is borne for longer, up to four times HopTimeout; on a regular link never.
//   - However long a member computes, its ring says every 250 ms that it is alive.
//   - When Ring.Close returns, or a call has failed, no goroutine of the ring is left.
//
// It does not decide who is a member, does not know what the values mean, does not retry, and does not defend against
// members that lie.
//
// # Where to start
//
// The example of the package is one step of three members. ring.go is the API; sum.go the ring, exchange.go the
// short way, gather.go the bytes; schedule.go says who sends what when; codec.go how values are packed; frame.go the
// header; peer.go is the neighbour with its silence and farewell, pace.go how long that silence may last; link.go
// what is asked of a transport, with memlink.go (in memory, with faults) and grpc.go as the two there are.
package allreduce

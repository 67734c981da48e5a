package cpu

import "github.com/torctrain/torc/model"

// AttentionGrad overwrites dq, dk and dv. Two passes compute the probabilities again: one owns queries, the other keys.
func (k *Kernels) AttentionGrad(dq, dk, dv, do, o, lse, q, kk, v []float32, starts []int32, shape model.AttnShape) {
	T := mustSequences("AttentionGrad", o, lse, q, kk, v, starts, shape)
	mustLen("AttentionGrad", "do", len(do), T*shape.H*shape.D)
	mustLen("AttentionGrad", "dq", len(dq), T*shape.H*shape.D)
	mustLen("AttentionGrad", "dk", len(dk), T*shape.KV*shape.D)
	mustLen("AttentionGrad", "dv", len(dv), T*shape.KV*shape.D)
	s := &k.vec.attend
	s.o, s.lse, s.q, s.k, s.v, s.do, s.dq, s.dk, s.dv = o, lse, q, kk, v, do, dq, dk, dv
	k.prepare(starts, shape, 0)
	grow(&s.delta, T*shape.H)
	k.spread(len(s.tiles), T*shape.H*shape.D, s.deltas)
	k.spread(len(s.tiles)*shape.KV, len(s.tiles)*vecSmallest, s.gradKV)
	k.spread(len(s.tiles)*shape.KV, len(s.tiles)*vecSmallest, s.gradQ)
	s.forget()
}

// deltaTask computes do·o for the tokens of a tile: the sum over keys of probability times its gradient.
func (k *Kernels) deltaTask(worker, i int) {
	s, b := &k.vec.attend, &k.vec.scratch[worker]
	t := s.tiles[i]
	for row := (t.first + t.at) * s.s.H; row < (t.first+t.at+t.rows)*s.s.H; row++ {
		do, o := s.do[row*s.s.D:(row+1)*s.s.D], s.o[row*s.s.D:(row+1)*s.s.D]
		s.delta[row] = k.ops.dot(b.padded(0, do, 0), b.padded(1, o, 0))
	}
}

// attendGradQTask computes dq of a tile of queries: key blocks ascending.
func (k *Kernels) attendGradQTask(worker, i int) {
	s, b := &k.vec.attend, &k.vec.attend.buffers[worker]
	t, kv := s.tiles[len(s.tiles)-1-i/s.s.KV], i%s.s.KV
	wide := parts(s.s.D, k.ops.cols) * k.ops.cols
	size := keyBlock * wide
	out := b.out[:s.group*size]
	clear(out)
	for j := s.firstKey(t); j <= t.at; j += keyBlock {
		n := min(keyBlock, t.n-j)
		key := s.at(t.first+j, s.s.KV, kv)
		k.packColumns(b.kT, s.k[key:], s.s.KV*s.s.D, n, s.s.D)
		k.packColumns(b.vT, s.v[key:], s.s.KV*s.s.D, n, s.s.D)
		k.packRows(b.kN, s.k[key:], s.s.KV*s.s.D, n, s.s.D)
		for g := range s.group {
			k.scoreGrad(b, t, j, kv*s.group+g, n, keyBlock)
			for c := 0; c < wide; c += k.ops.cols {
				k.ops.mul(out[g*size+c:], wide, b.dp, keyBlock, b.kN[c*n:], t.rows, n, true)
			}
		}
	}
	for g := range s.group {
		for r := range t.rows {
			at := s.at(t.first+t.at+r, s.s.H, kv*s.group+g)
			copy(s.dq[at:at+s.s.D], out[g*size+r*wide:])
		}
	}
}

// scoreGrad computes, for the queries of t and the n keys from j on, whose columns are packed in b, the probabilities b.p
// and the gradients of the products of queries and keys, b.dp, in panels of width columns.
func (k *Kernels) scoreGrad(b *attendBuffers, t tile, j, h, n, width int) {
	s := &k.vec.attend
	lse, delta := b.old[:t.rows], b.added[:t.rows]
	for r := range t.rows {
		row := (t.first+t.at+r)*s.s.H + h
		lse[r], delta[r] = s.lse[row], s.delta[row]
	}
	query := s.at(t.first+t.at, s.s.H, h)
	k.score(b.p, width, s.q[query:], s.s.H*s.s.D, b.kT, t.rows, n)
	k.score(b.dp, width, s.do[query:], s.s.H*s.s.D, b.vT, t.rows, n)
	s.hide(b.p, t, j, width)
	for c := range parts(n, width) {
		at := c * keyBlock * width
		k.ops.softmaxD(b.p[at:at+t.rows*width], b.dp[at:at+t.rows*width], lse, delta, width, s.s.Scale)
	}
}

// attendGradKVTask computes dk and dv of a tile of keys: query heads ascending, for each the queries ascending. The sums are
// kept transposed, (D, 64), since then the block of probabilities is a packed operand as it stands.
func (k *Kernels) attendGradKVTask(worker, i int) {
	s, b := &k.vec.attend, &k.vec.attend.buffers[worker]
	keys, kv := s.tiles[i/s.s.KV], i%s.s.KV
	D, cols := s.s.D, k.ops.cols
	dk, dv := b.out[:D*keyBlock], b.out[D*keyBlock:2*D*keyBlock]
	clear(dk)
	clear(dv)
	key := s.at(keys.first+keys.at, s.s.KV, kv)
	k.packColumns(b.kT, s.k[key:], s.s.KV*D, keys.rows, D)
	k.packColumns(b.vT, s.v[key:], s.s.KV*D, keys.rows, D)
	last := keys.n
	if s.s.Window > 0 {
		last = min(last, keys.at+keys.rows+s.s.Window-1)
	}
	for g := range s.group {
		for at := keys.at; at < last; at += keyBlock {
			t := tile{keys.first, keys.n, at, min(keyBlock, keys.n-at)}
			k.scoreGrad(b, t, keys.at, kv*s.group+g, keys.rows, cols)
			query := s.at(t.first+t.at, s.s.H, kv*s.group+g)
			transpose(&k.ops.packOps, b.qT, keyBlock, s.q[query:], s.s.H*D, t.rows, D)
			transpose(&k.ops.packOps, b.doT, keyBlock, s.do[query:], s.s.H*D, t.rows, D)
			for c := 0; c < keys.rows; c += cols {
				k.ops.mul(dv[c:], keyBlock, b.doT, keyBlock, b.p[c*keyBlock:], D, t.rows, true)
				k.ops.mul(dk[c:], keyBlock, b.qT, keyBlock, b.dp[c*keyBlock:], D, t.rows, true)
			}
		}
	}
	transpose(&k.ops.packOps, s.dk[key:], s.s.KV*D, dk, keyBlock, D, keys.rows)
	transpose(&k.ops.packOps, s.dv[key:], s.s.KV*D, dv, keyBlock, D, keys.rows)
}

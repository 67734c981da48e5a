package cpu

import "github.com/torctrain/torc/model"

// pair is a sequence and a key-value head, with all query heads of that; block is a block of tokens of such a pair.
type (
	pair  struct{ first, n, kv int }
	block struct {
		tile
		kv int
	}
)

// AttentionGrad overwrites dq, dk and dv.
//
// Gradients of keys and values are sums over queries, those of queries sums over keys. One worker that has a whole pair
// computes them together from each block of probabilities: five products. Where there are too few pairs for the workers,
// they share the blocks of one: those of keys first, then those of queries, which computes probabilities and their
// gradients twice: seven products. Each sum is the same chain of multiply-adds either way.
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
	k.share()
	k.spread(len(s.pairs)+2*len(s.rest), len(s.tiles)*vecSmallest, s.grads)
	s.forget()
}

// share decides which pairs are computed whole: small ones, and of the large ones as many as give each thread the same
// number. Large is more than a quarter of what one thread has to do. Heads must fill panels, since then the gradients of
// queries can be added up where they belong.
func (k *Kernels) share() {
	s, threads := &k.vec.attend, k.Threads()
	s.pairs, s.rest = s.pairs[:0], s.rest[:0]
	total, large := 0, 0
	cost := func(t tile) int { return parts(t.n, keyBlock) * parts(t.n, keyBlock) }
	isLarge := func(t tile) bool { return 4*threads*cost(t) > total }
	for _, t := range s.tiles {
		if t.at == 0 {
			total += s.s.KV * cost(t)
		}
	}
	for _, t := range s.tiles {
		if t.at == 0 && isLarge(t) {
			large += s.s.KV
		}
	}
	whole := large / threads * threads
	if threads == 1 {
		whole = large
	}
	for i, t := range s.tiles {
		if t.at > 0 {
			continue
		}
		for kv := range s.s.KV {
			switch {
			case s.s.D%k.ops.cols != 0 || isLarge(t) && whole == 0:
				for _, t := range s.tiles[i : i+parts(t.n, keyBlock)] {
					s.rest = append(s.rest, block{t, kv})
				}
				continue
			case isLarge(t):
				whole--
			}
			s.pairs = append(s.pairs, pair{t.first, t.n, kv})
		}
	}
}

// attendGradTask computes a pair, or keys and values of a block, or queries of a block.
func (k *Kernels) attendGradTask(worker, i int) {
	s, b := &k.vec.attend, &k.vec.attend.buffers[worker]
	n := len(s.pairs)
	switch {
	case i < n:
		k.gradPair(b, s.pairs[i])
	case i < n+len(s.rest):
		k.gradKV(b, s.rest[i-n], nil)
	default:
		k.gradQ(b, s.rest[i-n-len(s.rest)])
	}
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

// gradPair computes all gradients of a pair: key blocks ascending.
func (k *Kernels) gradPair(b *attendBuffers, p pair) {
	s := &k.vec.attend
	for t := range p.n {
		at := s.at(p.first+t, s.s.H, p.kv*s.group)
		clear(s.dq[at : at+s.group*s.s.D])
	}
	for at := 0; at < p.n; at += keyBlock {
		k.gradKV(b, block{tile{p.first, p.n, at, min(keyBlock, p.n-at)}, p.kv}, s.dq)
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

// gradKV computes dk and dv of a block of keys: query heads ascending, for each the queries ascending. The sums are kept
// transposed, (D, 64), since then the block of probabilities is a packed operand as it stands. What the keys give to the
// gradients of queries is added to dq unless that is nil.
func (k *Kernels) gradKV(b *attendBuffers, keys block, dq []float32) {
	s := &k.vec.attend
	D, cols := s.s.D, k.ops.cols
	dk, dv := b.out[:D*keyBlock], b.out[D*keyBlock:2*D*keyBlock]
	clear(dk)
	clear(dv)
	key := s.at(keys.first+keys.at, s.s.KV, keys.kv)
	k.packColumns(b.kT, s.k[key:], s.s.KV*D, keys.rows, D)
	k.packColumns(b.vT, s.v[key:], s.s.KV*D, keys.rows, D)
	if dq != nil {
		k.packRows(b.kN, s.k[key:], s.s.KV*D, keys.rows, D)
	}
	last := keys.n
	if s.s.Window > 0 {
		last = min(last, keys.at+keys.rows+s.s.Window-1)
	}
	for h := keys.kv * s.group; h < (keys.kv+1)*s.group; h++ {
		for at := keys.at; at < last; at += keyBlock {
			t := tile{keys.first, keys.n, at, min(keyBlock, keys.n-at)}
			k.scoreGrad(b, t, keys.at, h, keys.rows, cols)
			query := s.at(t.first+t.at, s.s.H, h)
			transpose(&k.ops.packOps, b.qT, keyBlock, s.q[query:], s.s.H*D, t.rows, D)
			transpose(&k.ops.packOps, b.doT, keyBlock, s.do[query:], s.s.H*D, t.rows, D)
			for c := 0; c < keys.rows; c += cols {
				k.ops.mul(dv[c:], keyBlock, b.doT, keyBlock, b.p[c*keyBlock:], D, t.rows, true)
				k.ops.mul(dk[c:], keyBlock, b.qT, keyBlock, b.dp[c*keyBlock:], D, t.rows, true)
				for d := 0; d < D && dq != nil; d += cols {
					n := min(cols, keys.rows-c)
					k.ops.mul(dq[query+d:], s.s.H*D, b.dp[c*keyBlock:], cols, b.kN[d*keys.rows+c*cols:], t.rows, n, true)
				}
			}
		}
	}
	transpose(&k.ops.packOps, s.dk[key:], s.s.KV*D, dk, keyBlock, D, keys.rows)
	transpose(&k.ops.packOps, s.dv[key:], s.s.KV*D, dv, keyBlock, D, keys.rows)
}

// gradQ computes dq of a block of queries: key blocks ascending.
func (k *Kernels) gradQ(b *attendBuffers, t block) {
	s := &k.vec.attend
	wide := parts(s.s.D, k.ops.cols) * k.ops.cols
	size := keyBlock * wide
	out := b.out[:s.group*size]
	clear(out)
	for j := s.firstKey(t.tile); j <= t.at; j += keyBlock {
		n := min(keyBlock, t.n-j)
		key := s.at(t.first+j, s.s.KV, t.kv)
		k.packColumns(b.kT, s.k[key:], s.s.KV*s.s.D, n, s.s.D)
		k.packColumns(b.vT, s.v[key:], s.s.KV*s.s.D, n, s.s.D)
		k.packRows(b.kN, s.k[key:], s.s.KV*s.s.D, n, s.s.D)
		for g := range s.group {
			k.scoreGrad(b, t.tile, j, t.kv*s.group+g, n, keyBlock)
			for c := 0; c < wide; c += k.ops.cols {
				k.ops.mul(out[g*size+c:], wide, b.dp, keyBlock, b.kN[c*n:], t.rows, n, true)
			}
		}
	}
	for g := range s.group {
		for r := range t.rows {
			at := s.at(t.first+t.at+r, s.s.H, t.kv*s.group+g)
			copy(s.dq[at:at+s.s.D], out[g*size+r*wide:])
		}
	}
}

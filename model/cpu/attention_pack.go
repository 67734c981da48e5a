package cpu

// packColumns makes columns of n rows of src: panels of (D, cols), the last one filled up with zeros.
func (k *Kernels) packColumns(dst, src []float32, lds, n, D int) {
	cols, whole := k.ops.cols, D&^7
	for c := 0; c < n; c += cols {
		panel, width := dst[c*D:], min(cols, n-c)
		done := 0
		for ; whole > 0 && done+8 <= width; done += 8 {
			k.ops.packT(panel[done:], cols, src[(c+done)*lds:], lds, whole)
		}
		for p := range D {
			row, from := panel[p*cols:(p+1)*cols], done
			if p >= whole {
				from = 0
			}
			for j := from; j < cols; j++ {
				row[j] = 0
				if j < width {
					row[j] = src[(c+j)*lds+p]
				}
			}
		}
	}
}

// packRows cuts n rows of src into panels of (n, cols), the last one filled up with zeros.
func (k *Kernels) packRows(dst, src []float32, lds, n, D int) {
	cols := k.ops.cols
	full := D / cols
	if full > 0 {
		k.ops.pack(dst, n*cols, src, lds, full, n)
	}
	if rest := D - full*cols; rest > 0 {
		panel := dst[full*cols*n:]
		for p := range n {
			row := panel[p*cols : (p+1)*cols]
			clear(row[copy(row, src[p*lds+full*cols:p*lds+D]):])
		}
	}
}

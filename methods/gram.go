package methods

import (
	"gorgonia.org/tensor"

	"github.com/torctrain/torc/model"
)

// gram is Wᵀ·W or W·Wᵀ, whichever is smaller (s, s). It is computed in blocks, those above the diagonal being those below,
// and in slices of the long side, so that W is never held in float32 whole.
func (e Engine) gram(w *model.Matrix) *tensor.Dense {
	s, long := min(w.Rows, w.Cols), max(w.Rows, w.Cols)
	width := min(s, max(96, (s/6+15)&^15))
	strips := make([][]float32, (s+width-1)/width) // a slice of W (long, s), cut into columns
	blocks := make([][][]float32, len(strips))
	for i := range strips {
		wide := min(width, s-i*width)
		strips[i] = make([]float32, min(long, sliceRows)*wide)
		for range i {
			blocks[i] = append(blocks[i], make([]float32, wide*width))
		}
		blocks[i] = append(blocks[i], make([]float32, wide*wide))
	}
	row := make([]float32, max(s, sliceRows))
	for from := 0; from < long; from += sliceRows {
		rows := min(sliceRows, long-from)
		if w.Cols <= w.Rows {
			readRows(strips, row[:s], w, from, rows, width)
		} else {
			readColumns(strips, row[:rows], w, from, width)
		}
		for i, a := range strips {
			a = a[:rows*min(width, s-i*width)]
			for j, block := range blocks[i] {
				e.Kernels.GradDense(block, a, strips[j][:rows*min(width, s-j*width)], rows)
			}
		}
	}
	return e.Over(assemble(blocks, s, width), s, s)
}

// sliceRows is how much of a weight's long side is read at a time.
const sliceRows = 512

// readRows reads so many rows of w to strips (rows, width).
func readRows(strips [][]float32, row []float32, w *model.Matrix, from, rows, width int) {
	for i := range rows {
		w.Read(row, (from+i)*w.Cols)
		for j, strip := range strips {
			part := row[j*width : min(len(row), (j+1)*width)]
			copy(strip[i*len(part):], part)
		}
	}
}

// readColumns reads len(row) columns of w, transposed, to strips (len(row), width).
func readColumns(strips [][]float32, row []float32, w *model.Matrix, from, width int) {
	for i := range w.Rows {
		w.Read(row, i*w.Cols+from)
		strip, wide := strips[i/width], min(width, w.Rows-i/width*width)
		for j, v := range row {
			strip[j*wide+i%width] = v
		}
	}
}

// assemble makes the symmetric (s, s) of its blocks on and below the diagonal.
func assemble(blocks [][][]float32, s, width int) []float32 {
	g := make([]float32, s*s)
	for i, line := range blocks {
		for j, block := range line {
			rows, cols := min(width, s-i*width), min(width, s-j*width)
			for y := range rows {
				copy(g[(i*width+y)*s+j*width:], block[y*cols:(y+1)*cols])
			}
			if i == j {
				continue
			}
			for x := range cols {
				mirrored := g[(j*width+x)*s+i*width:][:rows]
				for y := range mirrored {
					mirrored[y] = block[y*cols+x]
				}
			}
		}
	}
	return g
}

// openblas times sgemm of OpenBLAS for bench/peers/gemm, which runs it and its own kernels in turn.
//
//	cc -O2 -o build/openblas bench/peers/openblas.c -lopenblas      (Debian: apt-get install libopenblas-dev)
//
// Reads lines "M N K transA transB add threads calls" and answers each with one line: the nanoseconds of every call.
// C (M, N) = A (M, K) · B (K, N), row-major; trans 1 means stored transposed; add 1 adds to C.
// OpenBLAS takes some processors for older ones: OPENBLAS_CORETYPE=Haswell, Zen or SkylakeX picks its kernels.
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static float *fill(long n) {
	float *p = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
	for (long i = 0; i < n; i++)
		p[i] = (float)(i * 2654435761u >> 8 & 0xffff) / 65536 - 0.5f;
	return p;
}

int main(void) {
	int M, N, K, ta, tb, add, threads, calls;
	fprintf(stderr, "openblas: %s\n", openblas_get_config());
	while (scanf("%d %d %d %d %d %d %d %d", &M, &N, &K, &ta, &tb, &add, &threads, &calls) == 8) {
		float *a = fill((long)M * K), *b = fill((long)K * N), *c = fill((long)M * N);
		openblas_set_num_threads(threads);
		for (int i = 0; i < calls; i++) {
			struct timespec t0, t1;
			clock_gettime(CLOCK_MONOTONIC, &t0);
			cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N, K, 1, a, ta ? M : K, b,
				tb ? K : N, add ? 1 : 0, c, N);
			clock_gettime(CLOCK_MONOTONIC, &t1);
			printf("%ld ", (t1.tv_sec - t0.tv_sec) * 1000000000L + t1.tv_nsec - t0.tv_nsec);
		}
		printf("\n");
		fflush(stdout);
		free(a), free(b), free(c);
	}
	return 0;
}

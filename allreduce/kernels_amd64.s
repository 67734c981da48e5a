#include "textflag.h"

// The loops are those of the portable twins: quantiseGo, addWordsGo, findWidthsGo, packGroupsGo, unpackGroupsGo.

// func quantiseAVX2(own *int32, src *float32, n int, scale float32) (max, bad uint32)
TEXT ·quantiseAVX2(SB), NOSPLIT, $0-40
	MOVQ own+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	VBROADCASTSS scale+24(FP), Y0
	VPCMPEQD Y1, Y1, Y1
	VPSRLD   $1, Y1, Y1          // 0x7fffffff: drops the sign
	VPCMPEQD Y2, Y2, Y2
	VPSLLD   $24, Y2, Y2
	VPSRLD   $1, Y2, Y2          // 0x7f800000
	VPCMPEQD Y3, Y3, Y3
	VPADDD   Y3, Y2, Y2          // 0x7f7fffff: the largest finite value
	VPXOR    Y3, Y3, Y3          // largest |g|
	VPXOR    Y4, Y4, Y4          // any not finite

quantiseLoop:
	VMOVUPS    (SI), Y5
	VMULPS     Y0, Y5, Y6
	VCVTPS2DQ  Y6, Y6
	VPADDD     (DI), Y6, Y6
	VMOVDQU    Y6, (DI)
	VPAND      Y1, Y5, Y5
	VPCMPGTD   Y2, Y5, Y7
	VPOR       Y7, Y4, Y4
	VPANDN     Y5, Y7, Y5
	VPMAXUD    Y5, Y3, Y3
	ADDQ       $32, SI
	ADDQ       $32, DI
	SUBQ       $8, CX
	JNZ        quantiseLoop

	VEXTRACTI128 $1, Y3, X5
	VPMAXUD      X5, X3, X3
	VPSHUFD      $0x4e, X3, X5
	VPMAXUD      X5, X3, X3
	VPSHUFD      $0xb1, X3, X5
	VPMAXUD      X5, X3, X3
	VMOVD        X3, AX
	MOVL         AX, max+32(FP)
	VPMOVMSKB    Y4, AX
	MOVL         AX, bad+36(FP)
	VZEROUPPER
	RET

// func addWordsAVX2(dst, own *int32, b *byte, n int)
TEXT ·addWordsAVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ own+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ n+24(FP), CX
	SUBQ $32, CX
	JLT  addTail

addLoop:
	VMOVDQU (SI), Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU 64(SI), Y2
	VMOVDQU 96(SI), Y3
	VPADDD  (DX), Y0, Y0
	VPADDD  32(DX), Y1, Y1
	VPADDD  64(DX), Y2, Y2
	VPADDD  96(DX), Y3, Y3
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	VMOVDQU Y2, 64(DI)
	VMOVDQU Y3, 96(DI)
	ADDQ    $128, SI
	ADDQ    $128, DX
	ADDQ    $128, DI
	SUBQ    $32, CX
	JGE     addLoop

addTail:
	ADDQ $32, CX
	JZ   addDone

addEight:
	VMOVDQU (SI), Y0
	VPADDD  (DX), Y0, Y0
	VMOVDQU Y0, (DI)
	ADDQ    $32, SI
	ADDQ    $32, DX
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     addEight

addDone:
	VZEROUPPER
	RET

// One row of findWidths: Y0 gathers all bits, Y1 those that differ from the sign.
#define WIDTH(OFF) \
	VMOVDQU OFF(SI), Y2; \
	VPSRAD  $31, Y2, Y3; \
	VPOR    Y2, Y0, Y0;  \
	VPXOR   Y3, Y2, Y2;  \
	VPOR    Y2, Y1, Y1

// func findWidthsAVX2(widths *byte, values *int32, n int)
TEXT ·findWidthsAVX2(SB), NOSPLIT, $0-24
	MOVQ widths+0(FP), DI
	MOVQ values+8(FP), SI
	MOVQ n+16(FP), CX

widthLoop:
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	WIDTH(0)
	WIDTH(32)
	WIDTH(64)
	WIDTH(96)
	WIDTH(128)
	WIDTH(160)
	WIDTH(192)
	WIDTH(224)
	XORL         DX, DX
	VPTEST       Y0, Y0
	JZ           widthStore
	VEXTRACTI128 $1, Y1, X2
	VPOR         X2, X1, X1
	VPSHUFD      $0x4e, X1, X2
	VPOR         X2, X1, X1
	VPSHUFD      $0xb1, X1, X2
	VPOR         X2, X1, X1
	VMOVD        X1, AX
	// width = 1 + length of AX in bits = 1 + the highest bit of 2·AX + 1
	LEAQ         1(AX)(AX*1), AX
	BSRQ         AX, DX
	INCL         DX

widthStore:
	MOVB DX, (DI)
	INCQ DI
	ADDQ $256, SI
	DECQ CX
	JNZ  widthLoop
	VZEROUPPER
	RET

// One row of packGroups: Y0 is the word being filled, Y1 its used bits, Y2 the width, Y3 a mask of that many bits.
#define PACK(OFF) \
	VPAND     OFF(SI), Y3, Y6; \
	VPSLLVD   Y1, Y6, Y7;      \
	VPSUBD    Y1, Y5, Y8;      \
	VPOR      Y7, Y0, Y0;      \
	MOVQ      R9, R10;         \
	VPSRLVD   Y8, Y6, Y6;      \
	VPADDD    Y2, Y1, Y1;      \
	ANDQ      $-32, R10;       \
	VMOVDQU   Y0, (DI)(R10*1); \
	VPCMPGTD  Y4, Y1, Y9;      \
	VPAND     Y4, Y1, Y1;      \
	ADDQ      AX, R9;          \
	VPBLENDVB Y9, Y6, Y0, Y0

// func packGroupsAVX2(stream *byte, values *int32, widths *byte, n, p int) int
TEXT ·packGroupsAVX2(SB), NOSPLIT, $0-48
	MOVQ stream+0(FP), DI
	MOVQ values+8(FP), SI
	MOVQ widths+16(FP), BX
	MOVQ n+24(FP), CX
	MOVQ p+32(FP), R9
	VPCMPEQD Y4, Y4, Y4
	VPSRLD   $27, Y4, Y4         // 31
	VPCMPEQD Y5, Y5, Y5
	VPSRLD   $31, Y5, Y5
	VPADDD   Y4, Y5, Y5          // 32
	VPXOR    Y0, Y0, Y0
	VPXOR    Y1, Y1, Y1
	MOVQ     R9, R10
	ANDQ     $31, R10
	JZ       packGroup
	// The word at p is already begun: take its lower bits.
	VMOVD        R10, X1
	VPBROADCASTD X1, Y1
	MOVQ         R9, R11
	ANDQ         $-32, R11
	VMOVDQU      (DI)(R11*1), Y0
	VPSUBD       Y1, Y5, Y8
	VPSLLVD      Y8, Y0, Y0
	VPSRLVD      Y8, Y0, Y0

packGroup:
	MOVBLZX      (BX), AX
	INCQ         BX
	TESTL        AX, AX
	JZ           packNext
	VMOVD        AX, X2
	VPBROADCASTD X2, Y2
	VPCMPEQD     Y3, Y3, Y3
	VPSUBD       Y2, Y5, Y6
	VPSRLVD      Y6, Y3, Y3
	PACK(0)
	PACK(32)
	PACK(64)
	PACK(96)
	PACK(128)
	PACK(160)
	PACK(192)
	PACK(224)

packNext:
	ADDQ $256, SI
	DECQ CX
	JNZ  packGroup

	TESTQ   $31, R9
	JZ      packDone
	MOVQ    R9, R10
	ANDQ    $-32, R10
	VMOVDQU Y0, (DI)(R10*1)

packDone:
	MOVQ R9, ret+40(FP)
	VZEROUPPER
	RET

// One row of unpackGroups: Y1 is the bits of the word already read, Y2 the width, Y3 = 32 − width. Leaves the row in Y6.
#define UNPACK \
	MOVQ     R9, R10;              \
	ANDQ     $-32, R10;            \
	VMOVDQU  (DX)(R10*1), Y6;      \
	VMOVDQU  32(DX)(R10*1), Y7;    \
	VPSUBD   Y1, Y5, Y8;           \
	VPSRLVD  Y1, Y6, Y6;           \
	VPSLLVD  Y8, Y7, Y7;           \
	VPADDD   Y2, Y1, Y1;           \
	VPOR     Y7, Y6, Y6;           \
	VPAND    Y4, Y1, Y1;           \
	VPSLLVD  Y3, Y6, Y6;           \
	ADDQ     AX, R9;               \
	VPSRAVD  Y3, Y6, Y6

#define UNPACKADD(OFF) \
	UNPACK;                   \
	VPADDD  OFF(SI), Y6, Y6;  \
	VMOVDQU Y6, OFF(DI)

#define UNPACKSET(OFF) \
	UNPACK;                   \
	VMOVDQU Y6, OFF(DI)

#define COPYROW(OFF) \
	VMOVDQU OFF(SI), Y6;  \
	VMOVDQU Y6, OFF(DI)

#define ZEROROW(OFF) \
	VMOVDQU Y0, OFF(DI)

// func unpackGroupsAVX2(dst, own *int32, stream, widths *byte, n, p int) int
TEXT ·unpackGroupsAVX2(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ own+8(FP), SI
	MOVQ stream+16(FP), DX
	MOVQ widths+24(FP), BX
	MOVQ n+32(FP), CX
	MOVQ p+40(FP), R9
	VPCMPEQD     Y4, Y4, Y4
	VPSRLD       $27, Y4, Y4     // 31
	VPCMPEQD     Y5, Y5, Y5
	VPSRLD       $31, Y5, Y5
	VPADDD       Y4, Y5, Y5      // 32
	VPXOR        Y0, Y0, Y0
	MOVQ         R9, R10
	ANDQ         $31, R10
	VMOVD        R10, X1
	VPBROADCASTD X1, Y1
	TESTQ        SI, SI
	JZ           setGroup

sumGroup:
	MOVBLZX      (BX), AX
	INCQ         BX
	TESTL        AX, AX
	JZ           sumZero
	VMOVD        AX, X2
	VPBROADCASTD X2, Y2
	VPSUBD       Y2, Y5, Y3
	UNPACKADD(0)
	UNPACKADD(32)
	UNPACKADD(64)
	UNPACKADD(96)
	UNPACKADD(128)
	UNPACKADD(160)
	UNPACKADD(192)
	UNPACKADD(224)

sumNext:
	ADDQ $256, SI
	ADDQ $256, DI
	DECQ CX
	JNZ  sumGroup
	JMP  unpackDone

sumZero:
	COPYROW(0)
	COPYROW(32)
	COPYROW(64)
	COPYROW(96)
	COPYROW(128)
	COPYROW(160)
	COPYROW(192)
	COPYROW(224)
	JMP sumNext

setGroup:
	MOVBLZX      (BX), AX
	INCQ         BX
	TESTL        AX, AX
	JZ           setZero
	VMOVD        AX, X2
	VPBROADCASTD X2, Y2
	VPSUBD       Y2, Y5, Y3
	UNPACKSET(0)
	UNPACKSET(32)
	UNPACKSET(64)
	UNPACKSET(96)
	UNPACKSET(128)
	UNPACKSET(160)
	UNPACKSET(192)
	UNPACKSET(224)

setNext:
	ADDQ $256, DI
	DECQ CX
	JNZ  setGroup
	JMP  unpackDone

setZero:
	ZEROROW(0)
	ZEROROW(32)
	ZEROROW(64)
	ZEROROW(96)
	ZEROROW(128)
	ZEROROW(160)
	ZEROROW(192)
	ZEROROW(224)
	JMP setNext

unpackDone:
	MOVQ R9, ret+48(FP)
	VZEROUPPER
	RET

// Package detmath is the elementary functions of everything that decides a result bit: learning-rate schedules, bias
// corrections, rotary tables. The standard library's Exp, Log, Sin, Cos and Pow differ between CPUs and GOAMD64 levels; these
// do not, since they use nothing but + − × ÷ and √ on float64, each rounded once:
//
//	float64(a*b) + c      // the conversion keeps compilers from fusing the two into one rounding
//
// Results are within 1 ulp of the exact value, special cases as in package math.
//
// Start reading at exp.go.
package detmath

// Package allreduce is a specimen: each marked line breaks a rule.
package allreduce

// Package view holds the plain values that coordinator and members exchange about who takes part in a run.
//
// A View is immutable: a change of membership makes a new one. It knows no protobuf, clock or network.
package view

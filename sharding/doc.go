// Package sharding turns a dataset into the samples of each step and lane.
package sharding

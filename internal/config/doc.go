// Package config reads the settings of both binaries and knows their exit codes.
//
//	flag > environment (TORC_NAME) > file ($TORC_HOME/coordinator.yaml, node.yaml, or --config) > default  ─Load→ Settings
//
// A setting is what one process needs in order to run on one machine. What a run does is no setting: that is package spec.
// Unknown keys of a file are refused with those that are known. Nothing is global; each Load reads afresh.
//
// Start reading at settings.go.
package config

// Package pages is what tests of several programs ask of the documentation: manual pages and shell completion of every
// command (manual.go), and a table of the guide that lists the metrics that are exported and no others (metrics.go).
package pages

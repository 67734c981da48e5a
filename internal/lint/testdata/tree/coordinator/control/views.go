package control // want "package without a comment"

import "time"

// decide is pure: the time is an argument.
func decide(now time.Time) time.Time { return now.Add(time.Second) }

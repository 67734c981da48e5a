//go:build !unix

package hub

import "os"

func lock(*os.File) error { return nil }

package main

import (
	"debug/elf"
	"fmt"
)

// static refuses a program that needs a loader or libraries, which these images do not have.
func static(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || len(libs) > 0 {
			return fmt.Errorf("it wants a dynamic loader and %v, which this image does not have: leave out the package that does, or build the image with the Dockerfile", libs)
		}
	}
	return nil
}

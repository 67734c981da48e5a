// Command image packs torc's two programs into container images, without a container engine and without a base image from
// anywhere: one OCI archive for each program, with an image for each platform.
//
//	source ─ go build ─→ program ─┐
//	accounts, CA certificates ────┴─ Tree ─→ layer ─→ image ─→ index over platforms ─→ OUT/torc-PROGRAM.oci.tar
//
// The same source, Go release and version make the same bytes, on whichever machine and in whichever folder.
//
// Start reading at tree.go, then pack.go.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	source := flag.String("source", ".", "root of torc's source")
	out := flag.String("out", "build", "folder to write to")
	version := flag.String("version", "dev", "version that the programs print, and the images' tag")
	platforms := flag.String("platforms", "amd64,arm64", "processors to build for")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *source, *out, *version, strings.Split(*platforms, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run writes the archives of both programs.
func run(ctx context.Context, source, out, version string, platforms []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, p := range programs() {
		var images []platformImage
		for _, arch := range platforms {
			tree, err := p.tree(ctx, source, version, arch)
			if err != nil {
				return err
			}
			image, err := pack(p, tree, version, arch)
			if err != nil {
				return fmt.Errorf("pack %s for %s: %w", p.name, arch, err)
			}
			images = append(images, platformImage{arch, image})
		}
		path := filepath.Join(out, "torc-"+p.name+".oci.tar")
		digest, err := writeArchive(path, "torc/"+p.name+":"+version, images)
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		fmt.Println(path, digest)
	}
	return nil
}

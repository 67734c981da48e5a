package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// platformImage is an image and the processor it is for.
type platformImage struct {
	arch  string
	image v1.Image
}

// pack makes an image of one layer of a tree.
func pack(p program, t *Tree, version, arch string) (v1.Image, error) {
	content, err := t.Tar()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: time.Unix(0, 0).UTC()}
	config.History = []v1.History{{Created: config.Created, CreatedBy: "tools/image"}}
	config.Config = v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/" + where + "/" + p.name},
		Env:        []string{"PATH=/usr/bin", "TORC_HOME=" + state + "/home", "TORC_TRUST=" + state + "/trust"},
		WorkingDir: state,
		Volumes:    map[string]struct{}{state: {}},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "torc " + p.name,
			"org.opencontainers.image.description": p.title,
			"org.opencontainers.image.version":     version,
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.source":      "https://github.com/torctrain/torc",
		},
	}
	config.Config.ExposedPorts = map[string]struct{}{}
	for _, port := range p.ports {
		config.Config.ExposedPorts[port] = struct{}{}
	}
	return mutate.ConfigFile(image, config)
}

// writeArchive writes an OCI archive that has the images under one name, and says the digest of their index.
func writeArchive(path, name string, images []platformImage) (v1.Hash, error) {
	var index v1.ImageIndex = empty.Index
	for _, i := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: i.image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: i.arch}},
		})
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	dir, err := os.MkdirTemp("", "torc-image-*")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	_, tag, _ := strings.Cut(name, ":")
	if err := l.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag,                 // the name that podman and skopeo ask for
		"io.containerd.image.name":          "docker.io/" + name, // and containerd
	})); err != nil {
		return v1.Hash{}, err
	}
	return digest, archive(dir, path)
}

// archive writes the files below dir, sorted and without their times, to a tar archive that appears when it is complete.
func archive(dir, path string) error {
	t := &Tree{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		t.File(filepath.ToSlash(name), 0o644, data)
		return nil
	})
	if err != nil {
		return err
	}
	content, err := t.Tar()
	if err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, content, 0o644); err != nil {
		return err
	}
	return os.Rename(part, path)
}

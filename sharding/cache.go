package sharding

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// tokens are the examples of one shard, without the samples' places and answers: what the cache keeps.
type tokens struct {
	examples []Example
	digest   [32]byte // SHA-256 of the canonical bytes of the examples
}

// A cache file is
//
//	magic "torcTK", version uint16, key [32], count uint32,
//	count × (tokens uint32, prompt tokens uint32, int32 per token, ⌈tokens/8⌉ bytes: bit i, low first, is Counted[i]),
//	SHA-256 of all that
//
// little-endian. The digest of a shard is the SHA-256 of count and what follows it, without the trailing hash.
const (
	cacheMagic   = "torcTK"
	cacheVersion = 1
	cacheHeader  = len(cacheMagic) + 2 + 32
)

var errRotten = errors.New("sharding: cache file is damaged or of another version")

// cacheKey names what a shard's tokens depend on.
func cacheKey(shard, encoder [32]byte) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "torc tokens %d %x %x", cacheVersion, shard, encoder))
}

func cachePath(dir string, key [32]byte) string {
	name := fmt.Sprintf("%x", key)
	return filepath.Join(dir, name[:2], name)
}

// appendExamples writes the canonical bytes of a shard's tokens.
func appendExamples(out []byte, examples []Example) []byte {
	out = binary.LittleEndian.AppendUint32(out, uint32(len(examples)))
	for _, x := range examples {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(x.Tokens)))
		out = binary.LittleEndian.AppendUint32(out, uint32(x.PromptTokens))
		for _, id := range x.Tokens {
			out = binary.LittleEndian.AppendUint32(out, uint32(id))
		}
		mask := make([]byte, (len(x.Counted)+7)/8)
		for i, counted := range x.Counted {
			if counted {
				mask[i/8] |= 1 << (i % 8)
			}
		}
		out = append(out, mask...)
	}
	return out
}

func digestOf(examples []Example) [32]byte { return sha256.Sum256(appendExamples(nil, examples)) }

func encodeCache(key [32]byte, examples []Example) []byte {
	out := append([]byte(cacheMagic), cacheVersion, 0)
	out = appendExamples(append(out, key[:]...), examples)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// decodeCache reads a cache file that must hold count examples under key. Any other content is errRotten.
func decodeCache(data []byte, key [32]byte, count int) (*tokens, error) {
	if len(data) < cacheHeader+4+sha256.Size {
		return nil, errRotten
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	head := append(append([]byte(cacheMagic), cacheVersion, 0), key[:]...)
	if want := sha256.Sum256(body); !bytes.Equal(sum, want[:]) || !bytes.Equal(body[:cacheHeader], head) {
		return nil, errRotten
	}
	body = body[cacheHeader:]
	t := &tokens{digest: sha256.Sum256(body)}
	if uint64(binary.LittleEndian.Uint32(body)) != uint64(count) {
		return nil, errRotten
	}
	body = body[4:]
	for range count {
		var x Example
		var err error
		if x, body, err = decodeExample(body); err != nil {
			return nil, err
		}
		t.examples = append(t.examples, x)
	}
	if len(body) != 0 {
		return nil, errRotten
	}
	return t, nil
}

// decodeExample reads one example and returns what follows it.
func decodeExample(data []byte) (Example, []byte, error) {
	if len(data) < 8 {
		return Example{}, nil, errRotten
	}
	n, prompt := uint64(binary.LittleEndian.Uint32(data)), uint64(binary.LittleEndian.Uint32(data[4:]))
	data = data[8:]
	if size := 4*n + (n+7)/8; uint64(len(data)) < size || prompt > n {
		return Example{}, nil, errRotten
	}
	x := Example{Tokens: make([]int32, n), Counted: make([]bool, n), PromptTokens: int(prompt)}
	mask := data[4*n:]
	for i := range x.Tokens {
		x.Tokens[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
		x.Counted[i] = mask[i/8]>>(i%8)&1 == 1
	}
	return x, mask[(n+7)/8:], nil
}

// readCache returns the tokens kept under key, or an error if there are none that are whole.
func readCache(dir string, key [32]byte, count int) (*tokens, error) {
	data, err := os.ReadFile(cachePath(dir, key))
	if err != nil {
		return nil, err
	}
	return decodeCache(data, key, count)
}

// writeCache keeps the tokens under key; whoever reads meanwhile finds the old file or the new one, whole.
// It does not wait for the disk: a file lost in a crash is written again.
func writeCache(dir string, key [32]byte, examples []Example) error {
	path := cachePath(dir, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("keep tokens: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tokens-*")
	if err != nil {
		return fmt.Errorf("keep tokens: %w", err)
	}
	_, err = f.Write(encodeCache(key, examples))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep tokens: %w", err)
	}
	return nil
}

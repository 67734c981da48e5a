package control

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// journal keeps commands durably, in order. Opening it locks the directory: there is one coordinator per home.
type journal struct{ db *bbolt.DB }

var (
	metaBucket = []byte("meta")
	logBucket  = []byte("log")
	magicKey   = []byte("format")
	gossipKey  = []byte("gossip") // addresses, JSON
	magic      = []byte("torc journal 1")
)

// lockTimeout is how long a coordinator that is just ending may keep the lock.
const lockTimeout = 2 * time.Second

// openJournal opens or makes the journal in dir and returns the book that it amounts to. With noSync it does not wait for
// the disk.
func openJournal(dir string, noSync bool) (*journal, *book, error) {
	path := filepath.Join(dir, "coordinator.db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoSync: noSync})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, nil, fmt.Errorf("open journal %s: another coordinator uses this directory: stop it, or choose another with --home", path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	j := &journal{db}
	var b *book
	if err = j.prepare(); err == nil {
		b, err = j.read()
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read journal %s: %w", path, err), db.Close())
	}
	return j, b, nil
}

// prepare refuses a journal of another format, and gives a new one its buckets.
func (j *journal) prepare() error {
	return j.db.Update(func(tx *bbolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(logBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		if found := meta.Get(magicKey); found != nil && string(found) != string(magic) {
			return fmt.Errorf("format is %q, this coordinator reads %q: use the version that wrote it, or another --home", found, magic)
		}
		return meta.Put(magicKey, magic)
	})
}

// read applies all commands to an empty book.
func (j *journal) read() (*book, error) {
	b := &book{}
	return b, j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(logBucket).ForEach(func(key, value []byte) error {
			var cmd command
			if err := json.Unmarshal(value, &cmd); err != nil {
				return fmt.Errorf("command %x: %w", key, err)
			}
			if err := b.apply(cmd); err != nil {
				return fmt.Errorf("command %x: %w", key, err)
			}
			return nil
		})
	})
}

// append makes commands durable, all or none.
func (j *journal) append(cmds ...command) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		log := tx.Bucket(logBucket)
		for _, cmd := range cmds {
			value, err := json.Marshal(cmd)
			if err != nil {
				return err
			}
			seq, err := log.NextSequence()
			if err != nil {
				return err
			}
			if err := log.Put(binary.BigEndian.AppendUint64(nil, seq), value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write journal %s: %w", j.db.Path(), err)
	}
	return nil
}

// seeds are the gossip addresses that were kept last.
func (j *journal) seeds() (addrs []string, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		if text := tx.Bucket(metaBucket).Get(gossipKey); text != nil {
			return json.Unmarshal(text, &addrs)
		}
		return nil
	})
	return addrs, err
}

// keepSeeds keeps gossip addresses, in the place of those before.
func (j *journal) keepSeeds(addrs []string) error {
	return j.db.Update(func(tx *bbolt.Tx) error {
		text, err := json.Marshal(addrs)
		if err != nil {
			return err
		}
		return tx.Bucket(metaBucket).Put(gossipKey, text)
	})
}

// close releases the lock.
func (j *journal) close() error { return j.db.Close() }

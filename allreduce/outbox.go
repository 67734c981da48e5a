package allreduce

import "sync"

// job is a frame to send: at which hop and of which segment. Its frame is there already when a received one is handed
// on unchanged; otherwise the sender makes it from memory.
type job struct {
	kind    kind
	hop     int
	segment int
	offset  int // of the bytes, in Gather
	crc     uint32
	summed  bool // crc is that of the values' wire form
	ready   bool
	frame   Frame // if ready
}

// outbox is the queue between the goroutine that receives and the one that sends.
type outbox struct {
	mu   sync.Mutex // guards the fields below
	jobs []job
	held int // jobs that carry a frame

	wake chan struct{} // room for one: a token means that jobs were added
}

// heldFrames bounds the memory that waits for a slow neighbour: beyond it, frames are made again from memory.
const heldFrames = 8

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

func (o *outbox) push(j job) {
	o.mu.Lock()
	o.jobs = append(o.jobs, j)
	if j.ready {
		o.held++
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// pop takes the oldest job.
func (o *outbox) pop() (job, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.jobs) == 0 {
		return job{}, false
	}
	j := o.jobs[0]
	o.jobs = o.jobs[1:]
	if j.ready {
		o.held--
	}
	return j, true
}

// holds reports whether one more frame may wait in the box.
func (o *outbox) holds() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held < heldFrames
}

// drain frees the frames of jobs that will not be sent.
func (o *outbox) drain() {
	for {
		j, ok := o.pop()
		if !ok {
			return
		}
		if j.ready {
			j.frame.Free()
		}
	}
}

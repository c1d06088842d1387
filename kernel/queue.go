package kernel

import (
	"context"
	"sync"
)

// A queue is a FIFO with bounds in number and bytes. One that is full takes no
// more; one item always fits. It is read by one goroutine.
type queue[T any] struct {
	maxItems, maxBytes int
	wake               chan struct{} // holds one token when something may be there

	mu    sync.Mutex // guards the fields below
	items []queued[T]
	bytes int
}

type queued[T any] struct {
	value T
	size  int
}

func newQueue[T any](maxItems, maxBytes int) *queue[T] {
	return &queue[T]{maxItems: maxItems, maxBytes: maxBytes, wake: make(chan struct{}, 1)}
}

// put appends v, which counts for size bytes, and reports whether there was
// room. It does not wait.
func (q *queue[T]) put(v T, size int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) > 0 && (len(q.items) >= q.maxItems || q.bytes+size > q.maxBytes) {
		return false
	}
	q.items = append(q.items, queued[T]{v, size})
	q.bytes += size
	signal(q.wake)
	return true
}

// get removes the first item. It waits until there is one or ctx ends.
func (q *queue[T]) get(ctx context.Context) (T, error) {
	for ctx.Err() == nil {
		if v, ok := q.take(); ok {
			return v, nil
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
	var zero T
	return zero, ctx.Err()
}

func (q *queue[T]) take() (T, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		var zero T
		return zero, false
	}
	first := q.items[0]
	q.items[0] = queued[T]{}
	q.items = q.items[1:]
	if len(q.items) == 0 {
		q.items = nil // the memory of a long queue is not kept
	}
	q.bytes -= first.size
	return first.value, true
}

// signal puts a token into ch, of capacity 1, unless there is one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

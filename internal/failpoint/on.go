//go:build failpoints

package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// exitCode is the code of a program that ends at "exit": as if killed by SIGKILL.
const exitCode = 137

// headroom is the memory that a program at "oom" gets before it ends, whatever the
// machine has.
const headroom = 256 << 20

// point is one armed place.
type point struct {
	place, of string
	action    string
	wait      time.Duration
	nth       int // 0: each hit

	mu   sync.Mutex
	hits int
}

var armed = sync.OnceValue(func() []*point {
	points, err := parse(os.Getenv("ONEFLOW_FAILPOINTS"))
	if err != nil {
		// A test that arms nothing by mistake would pass.
		panic("ONEFLOW_FAILPOINTS: " + err.Error())
	}
	return points
})

// Hit does what the variable asks for at this place. of is what it is about: a
// model's name, or empty.
func Hit(place, of string) {
	for _, p := range armed() {
		if p.place == place && (p.of == "" || p.of == of) && p.due() {
			p.act()
		}
	}
}

func (p *point) due() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hits++
	return p.nth == 0 || p.hits == p.nth
}

func (p *point) act() {
	fmt.Fprintf(os.Stderr, "failpoint %s: %s\n", p.place, p.action)
	switch p.action {
	case "exit":
		os.Exit(exitCode)
	case "panic":
		panic("failpoint " + p.place)
	case "sleep":
		time.Sleep(p.wait)
	case "oom":
		exhaust()
	}
}

// exhaust lets the system refuse memory soon, and asks for it.
func exhaust() {
	var used uint64
	if data, err := os.ReadFile("/proc/self/statm"); err == nil {
		pages, _, _ := strings.Cut(string(data), " ")
		used, _ = strconv.ParseUint(pages, 10, 64)
	}
	limit := used*uint64(os.Getpagesize()) + headroom
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		panic("failpoint oom: " + err.Error())
	}
	var hoard [][]byte
	for range 1 << 16 {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		hoard = append(hoard, block)
	}
	panic(fmt.Sprintf("failpoint oom: %d MiB were given", len(hoard)))
}

func parse(text string) ([]*point, error) {
	var out []*point
	for item := range strings.SplitSeq(text, ",") {
		if item == "" {
			continue
		}
		where, how, ok := strings.Cut(item, "=")
		if !ok {
			return nil, fmt.Errorf("%q: want place=action", item)
		}
		p := &point{place: where}
		if place, of, ok := strings.Cut(where, "["); ok {
			p.place, p.of = place, strings.TrimSuffix(of, "]")
		}
		how, nth, counted := strings.Cut(how, "@")
		if counted {
			n, err := strconv.Atoi(nth)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q: after @ comes a number from 1", item)
			}
			p.nth = n
		}
		p.action, _, _ = strings.Cut(how, ":")
		switch p.action {
		case "exit", "panic", "oom":
		case "sleep":
			d, err := time.ParseDuration(strings.TrimPrefix(how, "sleep:"))
			if err != nil {
				return nil, fmt.Errorf("%q: want sleep:5s", item)
			}
			p.wait = d
		default:
			return nil, fmt.Errorf("%q: there is no action %q", item, p.action)
		}
		out = append(out, p)
	}
	return out, nil
}

package live

import (
	"fmt"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/words"
)

// column is one thing that is said of each row.
type column struct {
	title string
	// keep is how long it is kept when there is little room: those with the lowest numbers longest.
	keep int
	// least is the width it needs, most what it can make use of; 0 is all there is.
	least, most int
	// follow: it is no wider than the widest text in it.
	follow bool
	right  bool
	// name: a text that is too long is shortened in its middle.
	name bool
	// steady: it does not change from sample to sample, so that its order may be followed at once.
	steady bool
	cell   func(m *Model, r *row) cell
	rank   func(r *row) rank
}

// placed is a column with the width that a screen gives it; bars draw as wide as they may.
type placed struct {
	column
	index, width int
}

// arrange chooses the columns that a width has room for. What is left over goes to names, then to all that can use it alike.
func (l *list) arrange(total int) (out []placed, gap int) {
	gap = 1
	if total >= 100 {
		gap = 2
	}
	order := make([]int, len(l.columns))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return l.columns[a].keep - l.columns[b].keep })
	room := total
	chosen := map[int]bool{}
	for _, i := range order {
		need := l.columns[i].least
		if len(chosen) > 0 {
			need += gap
		}
		if need > room && len(chosen) > 0 {
			break
		}
		chosen[i] = true
		room -= need
	}
	for i, c := range l.columns {
		if chosen[i] {
			out = append(out, placed{column: c, index: i, width: min(c.least, total)})
		}
	}
	for _, i := range order {
		for j := range out {
			if p := &out[j]; p.index == i && p.follow {
				more := min(max(min(max(l.widest[i], len(p.title)+2), p.most)-p.width, 0), max(room, 0))
				p.width += more
				room -= more
			}
		}
	}
	for grown := true; grown && room > 0; {
		grown = false
		for j := range out {
			if p := &out[j]; !p.follow && room > 0 && p.width < p.most {
				p.width++
				room--
				grown = true
			}
		}
	}
	for j := range out {
		if p := &out[j]; p.most == 0 && room > 0 {
			p.width += room
			room = 0
		}
	}
	return out, gap
}

func textRank(s string) rank { return rank{text: s} }

func spanRank(t time.Time) rank {
	if t.IsZero() {
		return rank{}
	}
	return rank{number: float64(t.Unix())}
}

var dash = cell{"-", words.Dim}

func nameColumn(title string) column {
	return column{title: title, keep: 0, least: 12, most: 48, follow: true, name: true, steady: true,
		cell: func(_ *Model, r *row) cell { return cell{r.name, words.Plain} },
		rank: func(r *row) rank { return textRank(r.natural) }}
}

func stateColumn(title string, keep, least int) column {
	return column{title: title, keep: keep, least: least, most: least, steady: true, cell: (*Model).stateCell,
		rank: func(r *row) rank { s, _ := r.state(); return textRank(s) }}
}

func machineColumn(keep int) column {
	return column{title: "MACHINE", keep: keep, least: 7, most: 24, follow: true, name: true, steady: true,
		cell: func(_ *Model, r *row) cell { return cell{words.OrDash(r.machineName()), words.Plain} },
		rank: func(r *row) rank { return textRank(natural(r.machineName())) }}
}

// amount is a column of numbers that are sampled.
func amount(title string, keep int, known func(u *usage) bool, value func(u *usage) int64, say func(int64) string) column {
	return column{title: title, keep: keep, least: 5, most: 6, right: true,
		cell: func(m *Model, r *row) cell {
			if !known(&r.usage) || m != nil && !m.counts(r) {
				return dash
			}
			return cell{say(value(&r.usage)), words.Plain}
		},
		rank: func(r *row) rank {
			if !known(&r.usage) {
				return rank{number: -1}
			}
			return rank{number: float64(value(&r.usage))}
		}}
}

func isKnown(u *usage) bool { return u.known }
func isRated(u *usage) bool { return u.known && u.rated }

func amounts(keep int) []column {
	return []column{
		amount("CPU", keep, isKnown, func(u *usage) int64 { return u.cpu }, words.CPUs),
		amount("MEM", keep+1, isKnown, func(u *usage) int64 { return u.memory }, words.Bytes),
		amount("RX/s", keep+2, isRated, func(u *usage) int64 { return u.received }, words.Bytes),
		amount("TX/s", keep+3, isRated, func(u *usage) int64 { return u.sent }, words.Bytes),
		amount("RD/s", keep+4, isRated, func(u *usage) int64 { return u.read }, words.Bytes),
		amount("WR/s", keep+5, isRated, func(u *usage) int64 { return u.written }, words.Bytes),
	}
}

// sinceColumn is how long it has been so.
func sinceColumn(title string, keep int) column {
	return column{title: title, keep: keep, least: max(4, len(title)), most: max(5, len(title)+1), right: true, steady: true,
		cell: func(m *Model, r *row) cell {
			if m == nil || r.since.IsZero() {
				return dash
			}
			return cell{words.Seconds(m.now.Sub(r.since)), words.Plain}
		},
		rank: func(r *row) rank { return spanRank(r.since) }}
}

// recently is how old something may be that is called current: a machine confirms what it runs more often than that.
const recently = 5 * time.Second

// seenColumn is how long ago what the row shows was confirmed.
func seenColumn(title string, keep int) column {
	return column{title: title, keep: keep, least: 4, most: 5, right: true,
		cell: func(m *Model, r *row) cell {
			if m == nil {
				return dash
			}
			at := m.heard(r)
			if at.IsZero() {
				return dash
			}
			if age := m.now.Sub(at); age >= recently {
				return cell{words.Seconds(age), words.Yellow}
			}
			return cell{"now", words.Dim}
		}}
}

func messageColumn(keep int) column {
	return column{title: "MESSAGE", keep: keep, least: 12, steady: true,
		cell: func(_ *Model, r *row) cell { return cell{r.message(), words.Plain} },
		rank: func(r *row) rank { return textRank(r.message()) }}
}

func replicaColumns() []column {
	out := append([]column{nameColumn("REPLICA"), stateColumn("STATE", 1, 9), machineColumn(3)}, amounts(4)...)
	return append(out, sinceColumn("FOR", 10), seenColumn("SEEN", 2), messageColumn(11))
}

func memberColumns() []column {
	out := append([]column{nameColumn("CONTAINER"), stateColumn("STATE", 1, 9)}, amounts(3)...)
	return append(out, sinceColumn("FOR", 9), seenColumn("SEEN", 2),
		column{title: "RESTARTS", keep: 10, least: 8, most: 8, right: true, steady: true,
			cell: func(_ *Model, r *row) cell { return cell{fmt.Sprint(r.member.GetRestarts()), words.Plain} },
			rank: func(r *row) rank { return rank{number: float64(r.member.GetRestarts())} }},
		column{title: "ADDRESS", keep: 11, least: 15, most: 15, steady: true,
			cell: func(_ *Model, r *row) cell { return cell{words.OrDash(clean(r.member.GetAddress())), words.Plain} },
			rank: func(r *row) rank { return textRank(natural(r.member.GetAddress())) }},
		messageColumn(12))
}

func machineColumns() []column {
	return []column{
		nameColumn("MACHINE"),
		stateColumn("CONDITION", 1, 11),
		{title: "REPL", keep: 3, least: 5, most: 5, right: true, steady: true,
			cell: func(_ *Model, r *row) cell { return cell{fmt.Sprint(r.machine.GetReplicas()), words.Plain} },
			rank: func(r *row) rank { return rank{number: float64(r.machine.GetReplicas())} }},
		shareColumn("CPU", 4, words.CPUs, func(r *row) (int64, int64, int64) {
			return r.usage.cpu, r.machine.GetReservedCpuMilli(), r.machine.GetMachine().GetCapacity().GetCpuMilli()
		}),
		shareColumn("MEMORY", 5, words.Bytes, func(r *row) (int64, int64, int64) {
			return r.usage.memory, r.machine.GetReservedMemory(), r.machine.GetMachine().GetCapacity().GetMemory()
		}),
		{title: "DISK", keep: 6, least: 9, most: 11, right: true,
			cell: func(m *Model, r *row) cell {
				u := r.machine.GetUsage()
				if u == nil || m != nil && !m.counts(r) {
					return dash
				}
				return cell{words.Bytes(u.GetDiskUsed()) + "/" + words.Bytes(u.GetDiskTotal()), words.Plain}
			},
			rank: func(r *row) rank { return rank{number: float64(r.machine.GetUsage().GetDiskUsed())} }},
		amount("RX/s", 7, isRated, func(u *usage) int64 { return u.received }, words.Bytes),
		amount("TX/s", 8, isRated, func(u *usage) int64 { return u.sent }, words.Bytes),
		amount("RD/s", 9, isRated, func(u *usage) int64 { return u.read }, words.Bytes),
		amount("WR/s", 10, isRated, func(u *usage) int64 { return u.written }, words.Bytes),
		seenColumn("SEEN", 2),
		sinceColumn("JOINED", 11),
		messageColumn(12),
	}
}

// shareColumn is a bar of what is used and what is reserved beyond that, and the numbers beside it.
func shareColumn(title string, keep int, say func(int64) string, of func(r *row) (used, reserved, total int64)) column {
	return column{title: title, keep: keep, least: 15, most: 30,
		cell: func(m *Model, r *row) cell {
			used, reserved, total := of(r)
			text := "-/" + say(total)
			if r.usage.known && (m == nil || m.counts(r)) {
				text = say(used) + "/" + say(total)
			} else {
				used = 0
			}
			text = pad(text, 9, true)
			n := 5
			if m != nil {
				n = m.barWidth - width(text) - 1
			}
			if n < 3 {
				return cell{text, words.Plain}
			}
			return cell{bar(used, reserved, total, n) + " " + text, words.Plain}
		},
		rank: func(r *row) rank { used, _, _ := of(r); return rank{number: float64(used)} }}
}

// psColumns are those of `argosy ps`.
func psColumns() []column {
	return []column{nameColumn("REPLICA"),
		{title: "WANTED", keep: 3, least: 7, most: 10, steady: true,
			cell: func(_ *Model, r *row) cell {
				if r.member != nil {
					return cell{}
				}
				return cell{words.Wanted(r.replica.GetReplica()), words.Plain}
			},
			rank: func(r *row) rank { return textRank(natural(words.Wanted(r.replica.GetReplica()))) }},
		stateColumn("STATE", 1, 9), machineColumn(4), seenColumn("SEEN", 2), messageColumn(5)}
}

// running reports whether an agent would sample what a row is about.
func running(r *row) bool {
	if r.member != nil {
		switch r.member.GetState() {
		case argosyv1.MemberState_MEMBER_STATE_STARTING, argosyv1.MemberState_MEMBER_STATE_RUNNING,
			argosyv1.MemberState_MEMBER_STATE_UNHEALTHY, argosyv1.MemberState_MEMBER_STATE_STOPPING:
			return true
		}
		return false
	}
	return true
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// goal says whether an app is as somebody waits for it to be.
type goal func(p *progress) bool

// goalReady: every wanted replica is ready (or has completed) at the current revision, and nothing else is left.
func goalReady(p *progress) bool {
	return p.known && p.ready() == p.wanted && len(p.replicas) == int(p.wanted)
}

// goalGone: nothing of the app is left.
func goalGone(p *progress) bool { return p.known && len(p.replicas) == 0 }

// progress is what is known of an app while somebody waits.
type progress struct {
	app      string
	of       target                             // what of the app is waited for, where it is not all of it
	holdsUp  func(*argosyv1.ReplicaStatus) bool // whether a replica is in the way of the goal; nil: when it is not ready
	wanted   uint32
	known    bool
	replicas map[string]*argosyv1.ReplicaStatus
	started  time.Time
}

func (p *progress) apply(m *argosyv1.WatchReplicasResponse) (changed []*argosyv1.ReplicaStatus, removed []string) {
	if m.Full {
		p.replicas = map[string]*argosyv1.ReplicaStatus{}
		p.known = true
	}
	for _, r := range m.Replicas {
		name := replicaName(r.GetReplica().GetKey())
		old := p.replicas[name]
		p.replicas[name] = r
		if old == nil || old.State != r.State || old.Message != r.Message || old.MachineName != r.MachineName {
			changed = append(changed, r)
		}
	}
	for _, k := range m.Removed {
		delete(p.replicas, replicaName(k))
		removed = append(removed, replicaName(k))
	}
	return changed, removed
}

// wantedOf is how many replicas there should be of what is waited for.
func (p *progress) wantedOf(s *argosyv1.AppStatus) uint32 {
	if p.of.stack == "" {
		return s.GetWanted()
	}
	for _, st := range s.GetStacks() {
		if st.Stack == p.of.stack && p.of.number != 0 {
			return min(1, st.Wanted)
		} else if st.Stack == p.of.stack {
			return st.Wanted
		}
	}
	return 0
}

func isReady(r *argosyv1.ReplicaStatus) bool {
	return r.UpToDate && r.GetReplica().GetGoal() != argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE &&
		(r.State == argosyv1.ReplicaState_REPLICA_STATE_READY || r.State == argosyv1.ReplicaState_REPLICA_STATE_COMPLETED)
}

func (p *progress) ready() uint32 {
	var n uint32
	for _, r := range p.replicas {
		if isReady(r) {
			n++
		}
	}
	return n
}

// sorted is the replicas by stack and number.
func (p *progress) sorted() []*argosyv1.ReplicaStatus {
	out := make([]*argosyv1.ReplicaStatus, 0, len(p.replicas))
	for _, r := range p.replicas {
		out = append(out, r)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].GetReplica().GetKey(), out[j].GetReplica().GetKey()
		if a.GetStack() != b.GetStack() {
			return a.GetStack() < b.GetStack()
		}
		return a.GetNumber() < b.GetNumber()
	})
	return out
}

// blockers names what stands in the way, for the sentence after a time-out.
func (p *progress) blockers() string {
	var parts []string
	for _, r := range p.sorted() {
		if holdsUp := p.holdsUp; holdsUp == nil && isReady(r) || holdsUp != nil && !holdsUp(r) {
			continue
		}
		s := replicaName(r.GetReplica().GetKey()) + " is " + stateCell(r).text
		if r.Message != "" {
			s += " (" + oneLine(r.Message) + ")"
		}
		parts = append(parts, s)
	}
	switch {
	case !p.known:
		return "the server has not said yet how it is"
	case len(parts) == 0 && uint32(len(p.replicas)) < p.wanted:
		return fmt.Sprintf("%d of %s are there", len(p.replicas), plural(p.wanted, "replica"))
	}
	if len(parts) > 5 {
		parts = append(parts[:5], fmt.Sprintf("and %d more", len(parts)-5))
	}
	return strings.Join(parts, "; ")
}

// applied says what an apply or scale did and, if asked, waits until it is so.
func (a *app) applied(ctx context.Context, c *connection, res *argosyv1.ApplyResponse, w waitFlags) error {
	for _, warning := range res.Warnings {
		a.note("warning: %s", warning)
	}
	word := "unchanged"
	if res.Changed {
		word = "now"
	}
	if err := a.answer(res, []string{res.App.GetName()}, "%s is %s at revision %d", res.App.GetName(), word, res.App.GetRevision()); err != nil || !w.wait {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	return a.follow(ctx, c, res.App.Name, goalReady)
}

// follow shows an app's progress until the goal is reached. On a terminal it is a live view, elsewhere a line for each
// change. The stream is opened again when it breaks: a server may restart while somebody waits.
func (a *app) follow(ctx context.Context, c *connection, name string, done goal) error {
	return a.followPart(ctx, c, name, &progress{app: name}, done)
}

// followPart is follow for a part of an app; name is what a person calls it.
func (a *app) followPart(ctx context.Context, c *connection, name string, p *progress, done goal) error {
	p.started = time.Now()
	show, end := a.progressLines(p), func() {}
	if isTerminal(a.sys.Out) && a.output == "table" {
		show, end = a.liveView(ctx, p)
	}
	err := a.watchUntil(ctx, c, p, show, done)
	end()
	if errors.Is(ctx.Err(), context.Canceled) {
		return &exitError{exitInterrupted, fmt.Sprintf("interrupted: only the waiting has ended\nIt goes on by itself; look again with 'argosy ps %s'.", name)}
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &exitError{exitTimeout, fmt.Sprintf("%s did not get there in time: %s\nIt goes on by itself; look again with 'argosy ps %s' or 'argosy explain'.", name, p.blockers(), name)}
	}
	if err != nil {
		return err
	}
	a.done("%s: done after %s", name, span(time.Since(p.started)))
	return nil
}

type showChange func(changed []*argosyv1.ReplicaStatus, removed []string)

func (a *app) watchUntil(ctx context.Context, c *connection, p *progress, show showChange, done goal) error {
	for {
		err := a.watchOnce(ctx, c, p, show, done)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if code := connect.CodeOf(err); code != connect.CodeUnavailable && code != connect.CodeUnknown && code != connect.CodeCanceled && code != connect.CodeInternal {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (a *app) watchOnce(ctx context.Context, c *connection, p *progress, show showChange, done goal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	app, err := c.apps().GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{Tenant: a.tenant, App: p.app}))
	switch {
	case connect.CodeOf(err) == connect.CodeNotFound:
		p.wanted = 0
	case err != nil:
		return err
	default:
		p.wanted = p.wantedOf(app.Msg.GetStatus())
	}
	stream, err := c.apps().WatchReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{Tenant: a.tenant, App: p.app, Stack: p.of.stack, Number: p.of.number}))
	if err != nil {
		return err
	}
	defer stream.Close()
	messages := make(chan *argosyv1.WatchReplicasResponse)
	go func() {
		defer close(messages)
		for stream.Receive() {
			select {
			case messages <- stream.Msg():
			case <-ctx.Done():
				return
			}
		}
	}()
	var settled <-chan time.Time // runs while the goal is reached
	for first := true; ; first = false {
		select {
		case <-settled:
			return nil
		case m, ok := <-messages:
			if !ok {
				if err := stream.Err(); err != nil {
					return err
				}
				return connect.NewError(connect.CodeUnavailable, errors.New("the server ended the watch"))
			}
			a.take(ctx, c, p, m, show)
		}
		switch {
		case !done(p):
			settled = nil
		case first:
			return nil // it was so before anybody waited
		case settled == nil:
			settled = time.After(settleTime)
		}
	}
}

// settleTime is how long a goal must hold before it counts: what starts and exits at once is ready for a moment.
const settleTime = time.Second

// take takes in what changed and shows it.
func (a *app) take(ctx context.Context, c *connection, p *progress, m *argosyv1.WatchReplicasResponse, show showChange) {
	changed, removed := p.apply(m)
	if len(p.replicas) != int(p.wanted) { // somebody else may have scaled, or a machine come for what runs on each
		if app, err := c.apps().GetApp(ctx, connect.NewRequest(&argosyv1.GetAppRequest{Tenant: a.tenant, App: p.app})); err == nil {
			p.wanted = p.wantedOf(app.Msg.GetStatus())
		}
	}
	show(changed, removed)
}

func (a *app) progressLines(p *progress) showChange {
	return func(changed []*argosyv1.ReplicaStatus, removed []string) {
		if a.output != "table" {
			return
		}
		slices.SortFunc(changed, func(x, y *argosyv1.ReplicaStatus) int {
			return strings.Compare(replicaName(x.Replica.Key), replicaName(y.Replica.Key))
		})
		for _, r := range changed {
			fmt.Fprintf(a.sys.Out, "%4s  %s %s", seconds(time.Since(p.started)), replicaName(r.Replica.Key), stateCell(r).text)
			if r.MachineName != "" {
				fmt.Fprintf(a.sys.Out, " on %s", r.MachineName)
			}
			if r.Message != "" {
				fmt.Fprintf(a.sys.Out, ": %s", oneLine(r.Message))
			}
			fmt.Fprintln(a.sys.Out)
		}
		for _, name := range removed {
			fmt.Fprintf(a.sys.Out, "%4s  %s removed\n", seconds(time.Since(p.started)), name)
		}
	}
}

// liveView draws progress in place with bubbletea. The program reads no keys, so that Ctrl-C stays a signal.
func (a *app) liveView(ctx context.Context, p *progress) (showChange, func()) {
	prog := tea.NewProgram(&waiting{p: snapshot{started: p.started}, color: a.colorful(a.sys.Out)},
		tea.WithContext(ctx), tea.WithInput(nil), tea.WithOutput(a.sys.Out), tea.WithoutSignalHandler())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = prog.Run()
	}()
	show := func([]*argosyv1.ReplicaStatus, []string) {
		prog.Send(snapshot{replicas: p.sorted(), wanted: p.wanted, ready: p.ready(), started: p.started})
	}
	return show, func() {
		prog.Send(tea.QuitMsg{})
		<-ended
	}
}

// snapshot is what the live view draws; it shares nothing with the watch.
type snapshot struct {
	replicas      []*argosyv1.ReplicaStatus
	wanted, ready uint32
	started       time.Time
}

type waiting struct {
	p             snapshot
	width, height int
	frame         int
	color         bool
}

type frameMsg struct{}

func nextFrame() tea.Cmd {
	return tea.Tick(120*time.Millisecond, func(time.Time) tea.Msg { return frameMsg{} })
}

func (l *waiting) Init() tea.Cmd { return nextFrame() }

func (l *waiting) Update(m tea.Msg) (tea.Model, tea.Cmd) {
	switch m := m.(type) {
	case tea.WindowSizeMsg:
		l.width, l.height = m.Width, m.Height
	case snapshot:
		l.p = m
	case frameMsg:
		l.frame++
		return l, nextFrame()
	}
	return l, nil
}

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

func (l *waiting) View() tea.View { return tea.NewView(l.render(time.Now())) }

func (l *waiting) render(now time.Time) string {
	width, height := max(l.width, 40), l.height
	if height == 0 {
		height = 24
	}
	paint := func(s style, text string) string {
		if !l.color || s == plain || text == "" {
			return text
		}
		return string(s) + text + "\x1b[0m"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d of %d replicas ready  %s\n", paint(blue, spinner[l.frame%len(spinner)]), l.p.ready, l.p.wanted, paint(dim, seconds(now.Sub(l.p.started))))
	room := height - 3
	shown := 0
	// What is not ready comes first when not all fits.
	rows := slices.Clone(l.p.replicas)
	if len(rows) > room {
		slices.SortStableFunc(rows, func(x, y *argosyv1.ReplicaStatus) int { return boolOrder(isReady(x), isReady(y)) })
	}
	for _, r := range rows {
		if shown >= room {
			fmt.Fprintf(&b, "  %s\n", paint(dim, fmt.Sprintf("and %d more", len(rows)-shown)))
			break
		}
		mark, st := spinner[l.frame%len(spinner)], stateCell(r)
		switch {
		case isReady(r):
			mark = "✓"
		case r.State == argosyv1.ReplicaState_REPLICA_STATE_FAILED:
			mark = "✗"
		case r.State == argosyv1.ReplicaState_REPLICA_STATE_PENDING:
			mark = "·"
		}
		name, machine := replicaName(r.GetReplica().GetKey()), orDash(r.MachineName)
		message := clip(oneLine(r.Message), width-2-24-11-11-2)
		fmt.Fprintf(&b, "%s %-23s %s %s\n", paint(st.style, mark), clip(name, 23), paint(st.style, fmt.Sprintf("%-10s", st.text)),
			strings.TrimRight(fmt.Sprintf("%-10s %s", clip(machine, 10), paint(dim, message)), " "))
		shown++
	}
	return b.String()
}

func boolOrder(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

func clip(s string, n int) string {
	r := []rune(s)
	if n < 1 {
		return ""
	}
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

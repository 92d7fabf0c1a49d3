package cli

import (
	"strconv"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/words"
	"github.com/argosy-cluster/argosy/internal/pattern"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// target names an app, a stack of it, a replica of that, or a member of a replica: shop, shop/lamp, shop/lamp.3,
// shop/lamp.3/apache. shop/lamp/apache is that member of every replica. An app that is one unit is named as that is:
// web@1.service.
type target struct {
	app, stack string
	number     uint32
	member     string
}

var targetForm = pattern.New(`^(` + nameForm + `)(?:/([a-z][a-z0-9-]{0,62})(?:\.([0-9]{1,9}))?(?:/(` + nameForm + `))?)?$`)

// nameForm is a DNS label or, as web@1.service is, the name of a unit.
const nameForm = `[a-z][a-z0-9-]{0,62}|[A-Za-z0-9:_.@\\-]+\.[a-z]+`

func parseTarget(s string) (target, error) {
	m := targetForm.FindStringSubmatch(s)
	if m == nil {
		return target{}, usageError("%q names nothing: write app, app/stack, app/stack.number or app/stack.number/container, for example shop/lamp.3/apache", s)
	}
	t := target{app: m[1], stack: m[2], member: m[4]}
	for _, name := range []string{t.app, t.member} {
		if _, err := unitfile.ParseName(name); err != nil && strings.ContainsRune(name, '.') {
			return target{}, usageError("%v", err)
		}
	}
	if m[3] != "" {
		n, err := strconv.ParseUint(m[3], 10, 32)
		if err != nil || n == 0 {
			return target{}, usageError("%q: replicas are numbered from 1", s)
		}
		t.number = uint32(n)
	}
	return t, nil
}

// parseReplica is for commands that need exactly one replica.
func parseReplica(s string) (target, error) {
	t, err := parseTarget(s)
	if err != nil {
		return t, err
	}
	if t.number == 0 {
		return t, usageError("%q is not one replica: add its number, for example %s.1", s, s)
	}
	return t, nil
}

func (a *app) key(t target) *argosyv1.ReplicaKey {
	return &argosyv1.ReplicaKey{Tenant: a.tenant, App: t.app, Stack: t.stack, Number: t.number}
}

// replicaName is how a replica is written: shop/lamp.3.
func replicaName(k *argosyv1.ReplicaKey) string { return words.Replica(k) }

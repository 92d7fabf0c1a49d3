// Package files puts secrets and configs on the machine as files that containers mount.
//
//	store, err := files.Open(files.Config{Secrets: "/run/argosy/secrets", Configs: "/var/lib/argosy/configs", Unseal: open})
//	err = store.Write(assignment, spec)          // before the container starts, and again whenever a secret changed
//	mounts, err := store.Mounts(assignment, spec)
//	err = store.Remove(id)                       // with the replica
//
// # What holds
//
//   - A secret in the clear exists in memory while it is written, and on a tmpfs that only root can enter; nowhere else.
//     Open refuses a directory that is not on a tmpfs and cannot be made one.
//   - Each member has files of its own, with the mode and owner that its spec says.
//   - Secrets below /run/secrets, where they are unless the spec says otherwise, change in one instant (rename in a mounted
//     directory). Others are mounted one by one and rewritten in place, since a mounted file cannot be replaced.
//   - A config's path contains the hash of its content: a changed one is another file, so a container that still runs with
//     the old one is not disturbed.
package files

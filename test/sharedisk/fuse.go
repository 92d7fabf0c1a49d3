package sharedisk

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mount serves a view as a file system with one file.
func mount(dir string, v *View) (server, error) {
	forever := time.Hour
	root := &fs.Inode{}
	opts := &fs.Options{
		AttrTimeout: &forever, EntryTimeout: &forever,
		MountOptions: fuse.MountOptions{FsName: "argosy-sharedisk", Name: "sharedisk", AllowOther: true, DirectMountStrict: true, MaxWrite: 1 << 20},
		OnAdd: func(ctx context.Context) {
			root.AddChild(FileName, root.NewPersistentInode(ctx, &node{view: v}, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	}
	return fs.Mount(dir, root, opts)
}

// node is the one file.
type node struct {
	fs.Inode
	view *View
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(n.view.disk.size)
	return 0
}

// Open asks the kernel to keep nothing of the file: another machine may have written it.
func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, b []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	got, err := n.view.read(b, at)
	return fuse.ReadResultData(b[:got]), errno(err)
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, b []byte, at int64) (uint32, syscall.Errno) {
	got, err := n.view.write(b, at)
	return uint32(got), errno(err)
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return errno(n.view.sync())
}

// errno is how the kernel is told.
func errno(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e
	}
	return syscall.EIO
}

package session

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNetworkFileSystems(t *testing.T) {
	for _, test := range []struct {
		name  string
		magic int64
		want  string
	}{
		{"ext4", unix.EXT4_SUPER_MAGIC, ""}, {"btrfs", unix.BTRFS_SUPER_MAGIC, ""}, {"xfs", unix.XFS_SUPER_MAGIC, ""},
		{"tmpfs", unix.TMPFS_MAGIC, ""}, {"overlay", unix.OVERLAYFS_SUPER_MAGIC, ""}, {"9p", unix.V9FS_MAGIC, ""},
		{"nfs", unix.NFS_SUPER_MAGIC, "nfs"}, {"cifs", 0xff534d42, "smb"}, {"smb2", 0xfe534d42, "smb"}, {"smb", unix.SMB_SUPER_MAGIC, "smb"},
		{"afs", unix.AFS_SUPER_MAGIC, "afs"}, {"ceph", 0x00c36400, "ceph"}, {"lustre", 0x0bd00bd0, "lustre"}, {"gpfs", 0x47504653, "gpfs"},
		{"coda", unix.CODA_SUPER_MAGIC, "coda"},
	} {
		if got := networkByMagic(uint32(test.magic)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	const mountinfo = `22 28 0:21 / /proc rw - proc proc rw
30 28 0:49 / /home/x/far rw,nosuid shared:1 - fuse.sshfs host:/x rw,user_id=0
31 28 0:50 /sub /home/x/crypt rw,nosuid - fuse.gocryptfs /x rw
32 28 0:51 / /mnt/host rw shared:1 master:2 - virtiofs host rw
`
	for _, test := range []struct {
		minor uint32
		want  string
	}{{49, "sshfs"}, {50, ""}, {51, ""}, {52, ""}} {
		if got := networkByType(mountType(strings.NewReader(mountinfo), 0, test.minor)); got != test.want {
			t.Errorf("0:%d: got %q, want %q", test.minor, got, test.want)
		}
	}
	if got, err := networkFileSystem(t.TempDir()); got != "" || err != nil {
		t.Errorf("got %q, %v, want the directory for temporary files to be local", got, err)
	}
	if _, err := networkFileSystem("/does/not/exist"); err == nil {
		t.Error("got no error for a directory that is not there")
	}
}

package session

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const fuseMagic = 0x65735546

// networkFileSystem returns what network file system dir is on, or "". 9p counts
// as local: it is how virtual machines, WSL and gVisor show their host's disk.
func networkFileSystem(dir string) (string, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return "", err
		}
	}
	if uint32(st.Type) != fuseMagic {
		return networkByMagic(uint32(st.Type)), nil
	}
	var dev syscall.Stat_t
	if err := syscall.Stat(dir, &dev); err != nil {
		return "", err
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", nil // without it nothing can be said
	}
	defer f.Close()
	return networkByType(mountType(f, unix.Major(uint64(dev.Dev)), unix.Minor(uint64(dev.Dev)))), nil
}

// networkByMagic names the network file system with this magic number of
// statfs(2), or returns "".
func networkByMagic(magic uint32) string {
	switch magic {
	case 0x6969:
		return "nfs"
	case 0x517b, 0xff534d42, 0xfe534d42:
		return "smb"
	case 0x00c36400:
		return "ceph"
	case 0x0bd00bd0:
		return "lustre"
	case 0x47504653:
		return "gpfs"
	case 0x5346414f, 0x6b414653:
		return "afs"
	case 0x73757245:
		return "coda"
	case 0x564c:
		return "ncp"
	case 0x19830326:
		return "beegfs"
	case 0x20030528:
		return "orangefs"
	case 0xaad7aaea:
		return "panfs"
	}
	return ""
}

// networkByType names the network file system with this type of mountinfo, or
// returns "". Only FUSE needs it, whose magic number says nothing.
func networkByType(fsType string) string {
	sub, ok := strings.CutPrefix(fsType, "fuse.")
	if !ok {
		return ""
	}
	switch sub {
	case "sshfs", "rclone", "s3fs", "goofys", "gcsfuse", "mount-s3", "blobfuse", "blobfuse2", "glusterfs", "ceph-fuse",
		"ceph", "davfs", "davfs2", "curlftpfs", "juicefs", "seaweedfs", "cvmfs2", "smbnetfs", "nfs", "gvfsd-fuse":
		return sub
	}
	return ""
}

// mountType returns the type of the file system on a device, from mountinfo as
// proc_pid_mountinfo(5) describes it, or "".
func mountType(r io.Reader, major, minor uint32) string {
	device := fmt.Sprintf("%d:%d", major, minor)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if len(fields) > 2 && fields[2] == device && len(rest) > 0 {
			return rest[0]
		}
	}
	return ""
}

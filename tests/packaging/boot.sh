# boot.sh TREE WORK CGROUP: a real systemd as process 1 of its own namespaces, over TREE, which stays as it is.
# The network is the machine's own, so loopback is shared. Nothing here outlives the caller.
set -eu
if [ -n "${3:-}" ]; then
    # A control group of its own first: as the root of the new namespace it keeps systemd off the machine's own groups.
    echo $$ > "$3/cgroup.procs"
    exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child --propagation private sh "$0" "$1" "$2"
fi
mount -t tmpfs -o mode=755 tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"
cd "$2/root"
mount -t proc proc proc
# The kernel is shared: its settings stay out of reach.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
    systemd-sysctl.service systemd-modules-load.service systemd-journald-audit.socket; do
    ln -sf /dev/null "etc/systemd/system/$unit"
done
mkdir old
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target --show-status=no

"""The test guest's own files: what its init, network and metadata programs do. Data, no logic.

Every `guest: ...` line on the console is for tests to wait on; `up=` is the guest's uptime in seconds.
busybox's `wget -T` crashes, hence `timeout 5 wget`.
"""

from __future__ import annotations

from typing import NamedTuple

PASSWORD = "guest"  # noqa: S105 - of root, in a guest made for tests
PASSWORD_MARK = "@PASSWORD@"  # noqa: S105 - where its hash goes in /etc/shadow
DISK_LABEL = "guestroot"
CMDLINE = (
    f"root=LABEL={DISK_LABEL} console=tty1 console=ttyS0 quiet mitigations=off tsc=reliable no_timer_check"
)

MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net", "virtio_console", "virtio_rng"),
    *("virtio_balloon", "sd_mod", "sr_mod", "ahci", "ata_piix", "ext4", "isofs", "vfat", "nls_ascii"),
    *("nls_cp437", "e1000", "button", "evdev", "8021q", "psmouse", "i6300esb", "af_packet"),
)  # those that a kernel has built in or lacks are passed over


class GuestFile(NamedTuple):
    mode: int
    text: str


# In the initial RAM disk: load modules, find the root disk by its label, hand over.
INIT = GuestFile(
    0o755,
    rf"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /newroot
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
while read module; do insmod /lib/modules/$module 2>/dev/null; done </etc/modules.order
label=$(sed -n 's/.*root=LABEL=\([^ ]*\).*/\1/p' /proc/cmdline)
tries=0
while [ $tries -lt 200 ]; do
  disk=$(findfs LABEL=${{label:-{DISK_LABEL}}} 2>/dev/null) && mount -t ext4 $disk /newroot && {{
    mount -o move /proc /newroot/proc; mount -o move /sys /newroot/sys
    mount -o move /dev /newroot/dev; exec switch_root /newroot /sbin/init; }}
  tries=$((tries+1)); usleep 50000
done
echo "guest: no disk labelled ${{label:-{DISK_LABEL}}}" >/dev/console
exec sh </dev/console >/dev/console 2>&1
""",
)

_INITTAB = GuestFile(
    0o644,
    """::sysinit:/etc/rc
ttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100
tty1::respawn:/sbin/getty 38400 tty1 linux
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
""",
)

_RC = GuestFile(
    0o755,
    r"""#!/bin/sh
. /etc/say
mkdir -p /run /tmp /dev/pts /mnt/config /var/run /var/log /root/.ssh /etc/dropbear
mount -o remount,rw / 2>/dev/null
mount -t tmpfs run /run; mount -t devpts devpts /dev/pts; chmod 1777 /tmp
hostname -F /etc/hostname; ip link set lo up
say booted
acpid -c /etc/acpi 2>/dev/null
dropbear -R -P /run/dropbear.pid && say sshd
httpd -h /srv
port=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name 2>/dev/null)
[ -n "$port" ] && port=${port%/name} && qemu-ga -d -m virtio-serial -p /dev/${port##*/} \
  -f /run/qga.pid -t /run && say agent
/sbin/netd &
/sbin/metadata &
""",
)

_SAY = GuestFile(0o644, 'say() { read u _ </proc/uptime; echo "guest: $* up=$u" >/dev/console; }\n')

_NETD = GuestFile(
    0o755,
    r"""#!/bin/sh
# Brings up every ethN by DHCP, now and when it is plugged in later.
while :; do
  for d in /sys/class/net/eth*; do
    n=${d##*/}; [ -e $d ] || continue; [ -e /run/net.$n ] && continue
    : >/run/net.$n; ip link set $n up
    udhcpc -i $n -S -b -t 20 -T 1 -A 2 -O 26 -O 121 -x hostname:$(hostname) -p /run/dhcp.$n \
      -s /etc/udhcpc.script >/dev/null 2>&1 &
  done
  for f in /run/net.eth*; do [ -e /sys/class/net/${f##*.} ] || rm -f $f; done
  usleep 500000
done
""",
)

_UDHCPC = GuestFile(
    0o755,
    r"""#!/bin/sh
# $interface ip mask router dns mtu staticroutes come from udhcpc
. /etc/say
case $1 in
deconfig) ip addr flush dev $interface scope global; ip link set $interface up;;
bound|renew)
  ip addr flush dev $interface scope global
  ip addr add $ip/$mask dev $interface
  [ -n "$mtu" ] && ip link set $interface mtu $mtu
  if [ -n "$staticroutes" ]; then
    set -- $staticroutes
    while [ $# -ge 2 ]; do
      if [ $2 = 0.0.0.0 ]; then ip route replace $1 dev $interface
      else ip route replace $1 via $2 dev $interface; fi; shift 2; done
  else for r in $router; do ip route replace default via $r dev $interface; done; fi
  for s in $dns; do grep -q " $s\$" /etc/resolv.conf || echo "nameserver $s" >>/etc/resolv.conf; done
  say "$interface $ip/$mask"
  : >/run/net.up;;
esac
""",
)

_METADATA = GuestFile(
    0o755,
    r"""#!/bin/sh
# Host name, ssh keys, password and user data: from the config drive, else from 169.254.169.254.
. /etc/say
base=http://169.254.169.254/openstack/latest
get() { if [ -n "$drive" ]; then cat /mnt/config/openstack/latest/$1 2>/dev/null
  else timeout 5 wget -q -O - $base/$1 2>/dev/null; fi; }
tries=0
while [ $tries -lt 120 ]; do
  [ -z "$drive" ] && for d in $(findfs LABEL=config-2 2>/dev/null) /dev/sr[0-9]; do
    [ -b $d ] && mount -o ro $d /mnt/config 2>/dev/null || continue
    [ -d /mnt/config/openstack ] && drive=1 && break; umount /mnt/config; done
  [ -n "$drive" -o -e /run/net.up ] && md=$(get meta_data.json) && [ -n "$md" ] && break
  tries=$((tries+1)); usleep 500000
done
[ -z "$md" ] && { say "no metadata"; exit; }
echo "$md" >/run/meta_data.json
source=http; [ -n "$drive" ] && source=drive
field() { echo "$md" | tr -d '\n' | sed -n 's/.*"'$1'": *"\([^"]*\)".*/\1/p'; }
name=$(field hostname)
[ -n "$name" ] && hostname "${name%%.*}" && echo "${name%%.*}" >/etc/hostname
say "hostname $(hostname)"
mkdir -p /root/.ssh; chmod 700 /root /root/.ssh
echo "$md" | grep -oE '"(ssh|ecdsa)-[^" ]+ [^"]+"' | sed 's/\\n//; s/"//g' | sort -u \
  >/root/.ssh/authorized_keys
say "keys $(grep -c . /root/.ssh/authorized_keys)"
password=$(field admin_pass); [ -n "$password" ] && echo "root:$password" | chpasswd && say "password set"
[ -e /var/instance-ran ] || {
  : >/var/instance-ran
  get user_data >/run/user_data
  if [ "$(head -c 2 /run/user_data)" = '#!' ]; then
    chmod 755 /run/user_data; /run/user_data >/dev/console 2>&1
    say "user-data executed status=$?"
  elif [ -s /run/user_data ]; then say "user-data kept, not a script"
  else say "user-data none"; fi; }
say "metadata $source $(hostname)"
""",
)

_CHPASSWD = GuestFile(
    0o755,
    r"""#!/bin/sh
# The part of chpasswd that the guest agent needs: name:password lines; -e: hashed already.
while IFS=: read -r u p; do
  [ "$1" = -e ] || p=$(mkpasswd -m sha512 "$p")
  awk -F: -v OFS=: -v u="$u" -v p="$p" '$1==u{$2=p} 1' /etc/shadow >/etc/shadow.new &&
    chmod 600 /etc/shadow.new && mv /etc/shadow.new /etc/shadow
done
""",
)

_SHUTDOWN = GuestFile(
    0o755,
    "#!/bin/sh\ncase \" $* \" in *' -r '*) exec reboot;; *' -H '*) exec halt;; esac\nexec poweroff\n",
)

FILES = {
    "etc/inittab": _INITTAB,
    "etc/rc": _RC,
    "etc/say": _SAY,
    "sbin/netd": _NETD,
    "etc/udhcpc.script": _UDHCPC,
    "sbin/metadata": _METADATA,
    "usr/sbin/chpasswd": _CHPASSWD,
    "sbin/shutdown": _SHUTDOWN,
    "etc/acpi/PWRF/00000080": GuestFile(0o755, "#!/bin/sh\nexec poweroff\n"),
    "etc/passwd": GuestFile(0o644, "root:x:0:0:root:/root:/bin/sh\n"),
    "etc/shadow": GuestFile(0o600, f"root:{PASSWORD_MARK}:19000:0:99999:7:::\n"),
    "etc/group": GuestFile(0o644, "root:x:0:\n"),
    "etc/shells": GuestFile(0o644, "/bin/sh\n"),
    "etc/hostname": GuestFile(0o644, "guest\n"),
    "etc/resolv.conf": GuestFile(0o644, ""),
    "srv/index.html": GuestFile(0o644, "hello from the guest\n"),
    "root/.profile": GuestFile(0o644, "export PS1='\\h:\\w# '\n"),
}

GRUB_CONFIG = f"""set root=(hd0,msdos1)
linux /boot/vmlinuz {CMDLINE}
initrd /boot/initrd.img
boot
"""

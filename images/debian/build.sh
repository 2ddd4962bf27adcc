#!/bin/bash
# The Debian guest: systemd, cloud-init, qemu-guest-agent, openssh-server; booted from disk by GRUB.
#
#   sector 0       MBR: GRUB's boot.img
#   sector 1..     GRUB's core.img (biosdisk, part_msdos, ext2)
#   1 MiB .. end   ext4 `root`; the last partition, so that cloud-init's growpart can enlarge it
#
# Usage: build.sh SUITE WORK OUT.qcow2
# Needs root (mmdebstrap unpacks with the right owners, GRUB's image is made by the guest's own
# tool in a chroot), but no loop device and no mount of the image. The package set decides the
# content; the order of directory entries does not, so two builds agree in content, not in every byte.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=$1 work=$2 out=$3
export SOURCE_DATE_EPOCH=1700000000 TZ=UTC LC_ALL=C
mib=1048576 size=3072 # MiB, sparse
uuid=3f6d2c88-2c0a-4be4-8a5c-6e3a0f0b9d11

# The host's own archive configuration: a machine behind a mirror builds behind the same mirror.
proxy=()
while read -r line; do proxy+=(--aptopt="$line"); done < <(apt-config dump | grep -i '^Acquire::.*proxy' || true)

root=$work/root
packages=systemd,systemd-sysv,systemd-resolved,systemd-timesyncd,dbus,udev,cloud-init,cloud-guest-utils
packages+=,qemu-guest-agent,openssh-server,sudo,iproute2,iputils-ping,ca-certificates,less,nano
packages+=,linux-image-cloud-amd64,initramfs-tools,grub-pc,e2fsprogs
echo "grub-pc grub-pc/install_devices_empty boolean true" > "$work/debconf"
mmdebstrap --mode=root --variant=minbase --quiet "${proxy[@]}" --include="$packages" \
    --aptopt='APT::Install-Recommends "false"' \
    --essential-hook="chroot \"\$1\" debconf-set-selections < '$work/debconf'" \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" && echo COMPRESS=lz4 > "$1/etc/initramfs-tools/conf.d/compress" || true' \
    --include=lz4 \
    "$suite" "$root"

cp -r "$here/root/." "$root/"
printf 'UUID=%s / ext4 errors=remount-ro,x-systemd.growfs 0 1\n' "$uuid" > "$root/etc/fstab"
echo debian > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' > "$root/etc/hosts"
# Every guest gets its own identity at its first boot.
: > "$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/etc/resolv.conf"
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
chroot "$root" systemctl enable -q systemd-networkd systemd-resolved qemu-guest-agent ssh 2>/dev/null || true
# A guest without a network card must not wait two minutes for one.
chroot "$root" systemctl mask -q systemd-networkd-wait-online 2>/dev/null || true
chroot "$root" passwd -q -l root
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,man,info}/*

kernel=$(basename "$(echo "$root"/boot/vmlinuz-*)")
version=${kernel#vmlinuz-}
[ -s "$root/boot/initrd.img-$version" ] || { echo "no initramfs was built for $version" >&2; exit 1; }
# A first configuration; `update-grub` in the guest writes its successor when a kernel is upgraded.
cat > "$root/boot/grub/grub.cfg" <<EOF
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=0
search --no-floppy --fs-uuid --set=root $uuid
menuentry 'Debian' {
    linux /boot/vmlinuz-$version root=UUID=$uuid ro $(sed -n 's/^GRUB_CMDLINE_LINUX="\(.*\)"/\1/p' "$root/etc/default/grub.d/ferrovirt.cfg")
    initrd /boot/initrd.img-$version
}
EOF
modules=(biosdisk part_msdos ext2 search search_fs_uuid serial terminal normal linux echo test configfile)
cat > "$root/tmp/early.cfg" <<EOF
search --no-floppy --fs-uuid --set=root $uuid
set prefix=(\$root)/boot/grub
EOF
mkdir -p "$root/boot/grub/i386-pc"
cp "$root"/usr/lib/grub/i386-pc/*.{mod,lst} "$root/boot/grub/i386-pc/"
chroot "$root" grub-mkimage -O i386-pc -o /tmp/core.img -p '(hd0,msdos1)/boot/grub' -c /tmp/early.cfg "${modules[@]}"
mv "$root/tmp/core.img" "$work/core.img"
cp "$root/usr/lib/grub/i386-pc/boot.img" "$work/boot.img"
rm -f "$root/tmp/early.cfg"

part=$work/part.img disk=$work/disk.raw
truncate -s $(((size - 1) * mib)) "$part"
mkfs.ext4 -q -F -L root -U "$uuid" -m 1 -d "$root" \
    -E hash_seed=5b1d7c3e-2f4a-4c55-8f10-9a3b2c1d0e4f,lazy_itable_init=1,lazy_journal_init=1 "$part"
rm -rf "$root"
truncate -s $((size * mib)) "$disk"
dd if="$work/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
[ "$(stat -c %s "$work/core.img")" -lt $((2047 * 512)) ] || { echo "GRUB's core image is too large" >&2; exit 1; }
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
sectors=$(((size - 1) * 2048))
{
    printf '\x46\x56\x44\x31\x00\x00\x80\xfe\xff\xff\x83\xfe\xff\xff\x00\x08\x00\x00'
    printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $((sectors & 255)) $((sectors >> 8 & 255)) $((sectors >> 16 & 255)) $((sectors >> 24 & 255)))"
    head -c 48 /dev/zero
    printf '\x55\xaa'
} | dd of="$disk" bs=1 seek=440 conv=notrunc status=none
dd if="$part" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
rm -f "$part"

qemu-img convert -f raw -O qcow2 -c "$disk" "$out.partial"
mv "$out.partial" "$out"

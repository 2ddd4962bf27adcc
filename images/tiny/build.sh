#!/bin/bash
# The tiny guest: Debian's cloud kernel and busybox, booted from disk by SYSLINUX.
#
#   sector 0     MBR with SYSLINUX's boot code
#   1 MiB        FAT: ldlinux.sys, vmlinuz, initrd, syslinux.cfg
#   33 MiB       ext4 `tiny-data`: what the guest keeps, mounted at /data
#   64 MiB       end
#
# Usage: build.sh PACKAGES WORK OUT.qcow2 OUT.raw   (PACKAGES holds the .deb files; WORK is scratch)
# No loop device, no mount, no network; the same inputs give the same bytes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
packages=$1 work=$2 out=$3 raw=$4
export SOURCE_DATE_EPOCH=1700000000 TZ=UTC LC_ALL=C
mib=1048576

rm -rf "$work" && mkdir -p "$work/kernel" "$work/busybox"
dpkg-deb --fsys-tarfile "$packages"/linux-image-*.deb | tar -x -C "$work/kernel"
dpkg-deb --fsys-tarfile "$packages"/busybox-static_*.deb | tar -x -C "$work/busybox"
modules=$(echo "$work"/kernel/lib/modules/*/kernel)

root=$work/root
mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,run,tmp,data,root,lib/modules,var/log,etc}
cp -r "$here/root/." "$root/"
cp "$(find "$work/busybox" -path '*bin/busybox' -type f)" "$root/bin/busybox"
for applet in $("$root/bin/busybox" --list-full); do
    [ -e "$root/$applet" ] || ln -s /bin/busybox "$root/$applet"
done
for verb in poweroff reboot halt; do ln -sf /lib/tiny/shutdown "$root/sbin/$verb"; done
ln -s /sbin/init "$root/init"
ln -s /proc/mounts "$root/etc/mtab"
echo tiny > "$root/etc/hostname"
echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"
echo 'root::19000:0:99999:7:::' > "$root/etc/shadow"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
printf 'tiny guest, kernel \\r, \\l\n\n' > "$root/etc/issue"
printf 'ttyS0\nhvc0\ntty1\n' > "$root/etc/securetty"
chmod 600 "$root/etc/shadow"

# Without its appended signature and debug sections a module loads in a fraction of the time:
# verifying RSA-4096 is what emulation is slowest at.
while read -r module; do
    file=$modules/$module.ko
    [ -e "$file" ] || file=$file.xz
    [ -e "$file" ] || { echo "the kernel package has no module $module" >&2; exit 1; }
    target=$root/lib/modules/$(basename "$module").ko
    case $file in *.xz) xz -dc "$file" > "$target" ;; *) cp "$file" "$target" ;; esac
    objcopy --strip-debug "$target"
done < "$here/modules"

find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
(cd "$root" && find . -mindepth 1 | sort | cpio --quiet -o -H newc --reproducible -R 0:0) > "$work/initrd.cpio"
# LZ4's legacy frame is what the kernel reads; it unpacks faster than the BIOS could load the rest.
lz4 -l -9 -q -f "$work/initrd.cpio" "$work/initrd"

cp "$work"/kernel/boot/vmlinuz-* "$work/vmlinuz"
touch -d "@$SOURCE_DATE_EPOCH" "$work/vmlinuz" "$work/initrd"

fat=$work/fat.img data=$work/data.img disk=$work/disk.raw
truncate -s $((32 * mib)) "$fat"
mkfs.vfat --invariant -F 16 -h 2048 -s 16 -n TINYBOOT "$fat" > /dev/null
syslinux --install "$fat"
mcopy -m -i "$fat" "$work/vmlinuz" ::vmlinuz
mcopy -m -i "$fat" "$work/initrd" ::initrd
cp "$here/syslinux.cfg" "$work/syslinux.cfg" && touch -d "@$SOURCE_DATE_EPOCH" "$work/syslinux.cfg"
mcopy -m -i "$fat" "$work/syslinux.cfg" ::syslinux.cfg

truncate -s $((31 * mib)) "$data"
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mkfs.ext4 -q -F -b 1024 -L tiny-data -m 0 \
    -U 7e3c1f0a-6f0e-4a57-9d7e-0f4f6c1d2b3a \
    -E hash_seed=5b1d7c3e-2f4a-4c55-8f10-9a3b2c1d0e4f,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 \
    -O ^metadata_csum_seed "$data"

# entry BOOTABLE TYPE START_LBA SECTORS: one record of the partition table, LBA only
entry() {
    local bytes i
    printf -v bytes '\\x%02x\\xfe\\xff\\xff\\x%02x\\xfe\\xff\\xff' "$1" "$2"
    for i in 0 8 16 24; do printf -v bytes '%s\\x%02x' "$bytes" $((($3 >> i) & 255)); done
    for i in 0 8 16 24; do printf -v bytes '%s\\x%02x' "$bytes" $((($4 >> i) & 255)); done
    printf '%b' "$bytes"
}
truncate -s $((64 * mib)) "$disk"
dd if=/usr/lib/syslinux/mbr/mbr.bin of="$disk" conv=notrunc status=none
{
    printf '\x46\x56\x54\x31\x00\x00'
    entry 0x80 0x0e 2048 65536
    entry 0x00 0x83 67584 63488
    entry 0 0 0 0 | tr '\376\377' '\000\000'
    entry 0 0 0 0 | tr '\376\377' '\000\000'
    printf '\x55\xaa'
} | dd of="$disk" bs=1 seek=440 conv=notrunc status=none
dd if="$fat" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$data" of="$disk" bs=1M seek=33 conv=notrunc,sparse status=none

qemu-img convert -f raw -O qcow2 -c "$disk" "$out.partial"
cp --sparse=always "$disk" "$raw.partial"
mv "$raw.partial" "$raw"
mv "$out.partial" "$out"

#!/bin/bash
# Installs the Debian packages a task needs, when they are missing, and says which.
#
# Usage: deps.sh [build] [run] [images] [debian] [test] [bench] [python]       (default: run)
#   build   what compiling needs beside Rust: compilers of C and C++, a linker
#   run     QEMU and what the node uses: qemu-system-x86, nftables, iproute2, ...
#   images  what builds the tiny guest
#   debian  what builds the Debian guest, on top of `images`
#   test    what the tests compare with: qemu-img, isoinfo; python3 for the conformance replay; etcd,
#           the other store
#   bench   what the benchmarks compare with: etcd
#   python  what scripts/clients.sh needs
# With everything present it makes no apt call and prints nothing.
set -euo pipefail

declare -A packages=(
    [build]="gcc g++ libc6-dev make"
    [run]="qemu-system-x86 seabios iproute2 nftables e2fsprogs util-linux ca-certificates"
    [images]="qemu-utils mtools dosfstools syslinux syslinux-common cpio lz4 binutils e2fsprogs xz-utils"
    [debian]="mmdebstrap qemu-utils e2fsprogs"
    [bench]="etcd-server"
    [python]="python3 python3-venv"
    [test]="qemu-utils genisoimage xz-utils zstd gzip python3 etcd-server util-linux"
)

sets=("$@")
[ ${#sets[@]} -gt 0 ] || sets=(run)
wanted=()
for set in "${sets[@]}"; do
    [ -n "${packages[$set]:-}" ] || { echo "deps.sh: unknown set '$set' (known: ${!packages[*]})" >&2; exit 2; }
    read -ra list <<< "${packages[$set]}"
    wanted+=("${list[@]}")
done

# dpkg-query fails when it has never heard of a package: that is an answer, too.
installed=" $({ dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true; } |
    sed -n 's/^installed //p' | tr '\n' ' ')"
missing=()
for package in "${wanted[@]}"; do
    case "$installed ${missing[*]} " in *" $package "*) ;; *) missing+=("$package") ;; esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo > /dev/null || {
        echo "deps.sh: these packages are missing and need root to install: ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "installing from Debian: ${missing[*]}"
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=300)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { "${apt[@]}" install --no-install-recommends "${missing[@]}" > "$log" 2>&1; }
# Package lists may be absent on a bare machine or older than the mirror: refresh once, then retry.
if ! { ls /var/lib/apt/lists/*Packages* > /dev/null 2>&1 && install; }; then
    "${apt[@]}" update > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
    install || { cat "$log" >&2; exit 1; }
fi

#!/bin/bash
# Builds the guests that tests and the demo boot, from Debian packages, into target/images/.
#
#   inputs (scripts + package versions) -> sha256 -> NAME.key beside the image; the same key: nothing to do
#   scripts + state of apt's lists      -> sha256 -> NAME.stamp; the same stamp: apt is not even asked
#
# Usage: images.sh [tiny|debian|all]       (default: tiny)
#   tiny    tiny.qcow2 (compressed, to import) and tiny.raw (sparse, to boot at once)
#   debian  debian.qcow2: systemd, cloud-init, qemu-guest-agent, openssh-server
# FORCE=1 builds again. Set SUITE for another Debian release (default: the host's, else bookworm).
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
out=${IMAGES_DIR:-$top/target/images}
what=${1:-tiny}
mkdir -p "$out"

# Two builds of one image at once would share their scratch directory.
exclusive() { exec 9> "$out/.$1.lock"; flock 9; }

version() { apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p' | head -n 1; }

# key DIRECTORY PACKAGE...: identifies the inputs; fails when apt knows a package's version not
key() {
    local directory=$1 package found
    shift
    {
        cat "$0"
        find "$directory" -type f | LC_ALL=C sort | while read -r file; do
            echo "$file" | sed "s|^$top/||"; cat "$file"
        done
        for package; do
            found=$(version "$package")
            [ -n "$found" ] || return 1
            echo "$package $found"
        done
    } | sha256sum | cut -d' ' -f1
}

# stamp DIRECTORY: changes whenever the key could have changed
stamp() {
    {
        cat "$0"; find "$1" -type f -exec cat {} +
        echo "${SUITE:-}"; stat -c '%n %Y %s' /var/lib/apt/lists/*Release* 2>/dev/null
    } | sha256sum | cut -d' ' -f1
}

# untouched NAME OUTPUT...: true when the stamp says that nothing can have changed
untouched() {
    local name=$1 file
    shift
    [ -z "${FORCE:-}" ] || return 1
    for file; do [ -s "$out/$file" ] || return 1; done
    [ "$(cat "$out/$name.stamp" 2>/dev/null)" = "$(stamp "$top/images/$name")" ]
}

# current NAME KEY OUTPUT...: the image is there and was built from these inputs
current() {
    local name=$1 key=$2 file
    shift 2
    [ -z "${FORCE:-}" ] || return 1
    for file; do [ -s "$out/$file" ] || return 1; done
    [ "$(cat "$out/$name.key" 2>/dev/null)" = "$key" ]
}

refresh() { # package lists, once
    [ -z "${refreshed:-}" ] || return 0
    echo "images: reading package lists"
    apt-get -q update > "$out/.apt.log" 2>&1 || { cat "$out/.apt.log" >&2; exit 1; }
    refreshed=yes
}

keyed() { # key, with one refresh of the lists when they do not know a package
    key "$@" || { refresh >&2; key "$@"; } || {
        echo "images: apt does not offer: ${*:2}" >&2; exit 1
    }
}

build_tiny() {
    local meta=linux-image-cloud-amd64 kernel want work
    exclusive tiny
    ! untouched tiny tiny.qcow2 tiny.raw || return 0
    kernel=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1)
    if [ -z "$kernel" ]; then
        refresh
        kernel=$(apt-cache depends "$meta" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1)
    fi
    want=$(keyed "$top/images/tiny" "$kernel" busybox-static)
    ! current tiny "$want" tiny.qcow2 tiny.raw || { stamp "$top/images/tiny" > "$out/tiny.stamp"; return 0; }
    "$top/scripts/deps.sh" images
    echo "images: building tiny.qcow2 ($kernel, busybox)"
    work=$out/.tiny
    rm -rf "$work" && mkdir -p "$work/packages"
    fetch() { (cd "$work/packages" && apt-get -q download "$kernel" busybox-static) > "$out/.apt.log" 2>&1; }
    fetch || { refresh; fetch; } || { cat "$out/.apt.log" >&2; exit 1; }
    rm -f "$out/tiny.key"
    "$top/images/tiny/build.sh" "$work/packages" "$work/build" "$out/tiny.qcow2" "$out/tiny.raw"
    rm -rf "$work"
    echo "$want" > "$out/tiny.key"
    stamp "$top/images/tiny" > "$out/tiny.stamp"
    echo "images: $out/tiny.qcow2 ($(du -h --apparent-size "$out/tiny.qcow2" | cut -f1))"
}

build_debian() {
    local want work suite
    suite=${SUITE:-$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")}
    exclusive debian
    ! untouched debian debian.qcow2 || return 0
    want=$(keyed "$top/images/debian" linux-image-cloud-amd64 systemd cloud-init qemu-guest-agent openssh-server)
    want=$suite-$want
    ! current debian "$want" debian.qcow2 || { stamp "$top/images/debian" > "$out/debian.stamp"; return 0; }
    "$top/scripts/deps.sh" images debian
    echo "images: building debian.qcow2 ($suite; takes a few minutes)"
    work=$out/.debian
    rm -rf "$work" && mkdir -p "$work"
    rm -f "$out/debian.key"
    "$top/images/debian/build.sh" "$suite" "$work" "$out/debian.qcow2"
    rm -rf "$work"
    echo "$want" > "$out/debian.key"
    stamp "$top/images/debian" > "$out/debian.stamp"
    echo "images: $out/debian.qcow2 ($(du -h --apparent-size "$out/debian.qcow2" | cut -f1))"
}

case $what in
tiny) build_tiny ;;
debian) build_debian ;;
all) build_tiny; build_debian ;;
*) echo "usage: images.sh [tiny|debian|all]" >&2; exit 2 ;;
esac

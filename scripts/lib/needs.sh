# shellcheck shell=bash disable=SC2154 # $repository is set by who sources it
# What building and running needs, and whether this machine has it.
#
# Every test here looks at the thing itself (a program and its version, a
# header, a file), not at a package, so that it holds on any distribution and
# for any user. All tests together take well under a second. Changes nothing.
# Sourced; reads $repository.

# QEMU 9 is the first with everything that the driver asks of it.
qemu_major_min=9
rust_version_min=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$repository/Cargo.toml")

# version_at_least HAVE WANTED: compares dotted numbers.
version_at_least() {
    [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# program_version NAME: the first dotted number that NAME --version prints.
program_version() {
    local text
    text=$("$1" --version 2>/dev/null) || return 1
    [[ $text =~ [0-9]+(\.[0-9]+)+ ]] && printf '%s\n' "${BASH_REMATCH[0]}"
}

# program_at_least NAME WANTED: NAME is on PATH, starts, and is new enough.
program_at_least() {
    local version
    version=$(program_version "$1") && version_at_least "$version" "$2"
}

# A static program needs the static C library too, which some systems keep apart.
has_compiler() {
    local probe linked=1
    command -v cc >/dev/null || return 1
    probe=$(mktemp) || return 1
    printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' \
        | cc -static -x c -o "$probe" - 2>/dev/null && linked=0
    rm -f "$probe"
    return "$linked"
}

has_rust() {
    program_at_least cargo "$rust_version_min" && program_at_least rustc "$rust_version_min"
}

has_qemu() {
    program_at_least qemu-system-x86_64 "$qemu_major_min"
}

# cargo fetches over TLS. Where the certificates are to be had in another place,
# these variables say so.
has_certificates() {
    [[ -n ${SSL_CERT_FILE:-}${CARGO_HTTP_CAINFO:-} ]] && return 0
    [[ -e /etc/ssl/certs/ca-certificates.crt || -e /etc/pki/tls/certs/ca-bundle.crt
        || -e /etc/ssl/ca-bundle.pem || -e /etc/ssl/cert.pem ]]
}

# kernel_file: where vardoger looks for the guest's kernel.
kernel_file() {
    if [[ -n ${VARDOGER_KERNEL:-} ]]; then
        printf '%s\n' "$VARDOGER_KERNEL"
    else
        printf '%s\n' "${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/vardoger/kernel/vmlinuz"
    fi
}

has_kernel() {
    [[ -r $(kernel_file) ]]
}

# modules_directory: the modules of the guests' kernel, for the tests' own guests.
modules_directory() {
    printf '%s\n' "$(dirname "$(kernel_file)")/modules"
}

# They are of the very build of the kernel that they stand beside, if set-up
# has unpacked both; a kernel that a user named comes with theirs.
has_modules() {
    local modules
    modules=$(modules_directory)
    [[ -r $modules/virtio_blk.ko ]] || return 1
    [[ -n ${VARDOGER_KERNEL:-} ]] || cmp -s "$modules/release" "${modules%/*}/release"
}

has_formatter() {
    cargo fmt --version >/dev/null 2>&1
}

has_linter() {
    cargo clippy --version >/dev/null 2>&1
}

# The browser in which the tests open the report's page.
has_browser() {
    program_version chromium >/dev/null
}

# npm fetches what the tests check the page with, and what they read Parquet files
# with in node, which comes with it; where both are, it is not needed.
has_npm() {
    has_programs node || return 1
    program_version npm >/dev/null && return 0
    [[ -r $("$repository/scripts/lib/axe" --where)
        && -d $("$repository/scripts/lib/parquet-reader" --where) ]]
}

# has_programs NAME…: all are there. Tools for disks are where a user who is not
# root does not look; the tests do.
has_programs() {
    local program
    for program; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || return 1
    done
}

# What the tests make disks with, and hold their readers against.
has_image_tools() {
    has_programs qemu-img qemu-io sfdisk sgdisk mke2fs debugfs dumpe2fs strace \
        mkfs.xfs xfs_db mkfs.btrfs mkfs.fat mcopy mkntfs wimapply rpm rpmbuild db5.3_load sqlite3
}

# A static busybox is a program of the kind that users bring.
has_busybox() {
    "$repository/scripts/lib/busybox" >/dev/null 2>&1
}

# The agent of QEMU's that the tests start in a guest of theirs.
has_agent() {
    "$repository/scripts/lib/agent" >/dev/null 2>&1
}

# os_release KEY: a value out of /etc/os-release; empty if there is none.
os_release() {
    sed -n "s/^$1=\"\?\([^\"]*\)\"\?\$/\1/p" /etc/os-release 2>/dev/null || true
}

# package_of PROGRAM: the Debian package that owns PROGRAM; empty if none does.
package_of() {
    local path
    path=$(command -v "$1") || return 0
    dpkg-query --search "$(readlink -f "$path")" 2>/dev/null | head -n 1 | cut -d: -f1
}

# shellcheck shell=bash disable=SC2154 # $repository is set by who sources it
# Set-up for scripts/demo and scripts/test: finds what is missing, shows the
# plan, asks, installs.
#
#   look ──► nothing missing ──────────────────────────────────────► go on
#     └────► missing ──► plan ──► refuse (harm) · asked: no · --no-install ──► stop
#                          └────► install packages ──► unpack kernel ──► look again
#
# Invariants: nothing that is installed is removed or upgraded, QEMU's own
# packages aside; nothing is written under /etc/apt; the guests' kernel, busybox
# and agent are unpacked, never installed (a busybox that is not static could not
# stay beside it); with nothing missing, nothing is fetched.
# Deliberately absent: installing on anything but Debian, and sudo.
#
# The script that sources this sets $repository and calls
# `set_up ask|yes|look [lint]`.

# shellcheck source=scripts/lib/console.sh
. "$repository/scripts/lib/console.sh"
# shellcheck source=scripts/lib/needs.sh
. "$repository/scripts/lib/needs.sh"
# shellcheck source=scripts/lib/apt.sh
. "$repository/scripts/lib/apt.sh"

kernel_metapackage=linux-image-cloud-amd64

missing=()         # what is missing, as keys of needs_label
packages=()        # Debian's packages that bring it
kernel_unpacked='' # scratch directory beside the kernel while it is unpacked

declare -A needs_label=(
    [certificates]='TLS certificates'
    [compiler]='C compiler and static C library'
    [rust]="Rust $rust_version_min or newer"
    [formatter]='rustfmt'
    [linter]='clippy'
    [qemu]="QEMU $qemu_major_min or newer (qemu-system-x86_64)"
    [kernel]='Linux kernel for the guests'
    [modules]="modules of the guests' kernel"
    [mke2fs]='mke2fs, which makes file systems'
    [browser]='Chromium, for the tests of the report'
    [images]='tools that make disks and stop captures, for the tests (of qemu-utils, fdisk, gdisk, e2fsprogs, xfsprogs, btrfs-progs, dosfstools, mtools, ntfs-3g, wimtools, rpm, db5.3-util, sqlite3, strace)'
    [busybox]='busybox, static, for a Linux guest'
    [agent]="QEMU's guest agent, for the tests of running guests"
    [npm]='node and npm, which fetches axe-core and a reader of Parquet files for the tests'
)

# set_up MODE [lint]: MODE says whether to ask first, to install without asking,
# or only to look. `lint` adds what scripts/test needs.
set_up() {
    local mode=$1 lint=${2:-}
    look_around "$lint"
    ((${#missing[@]} > 0)) || return 0
    require_supported_machine
    heading 'Set-up: missing on this machine'
    require_not_shadowed
    choose_packages
    if [[ $mode == look ]]; then
        show_missing
        show_remedy
        exit 1
    fi
    if ((${#packages[@]} > 0 && EUID != 0)); then
        show_missing
        show_remedy
        fail 'packages are missing, and only root can install them' \
            'run the commands above, then this script again as yourself'
    fi
    trap tidy_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    install_missing "$mode"
    tidy_up
    trap - EXIT HUP INT TERM
    look_around "$lint"
    ((${#missing[@]} == 0)) || fail_still_missing
}

# tidy_up: leaves no scratch behind, however the set-up ends.
tidy_up() {
    apt_view_close
    if [[ -n $kernel_unpacked ]]; then
        rm -rf -- "$kernel_unpacked"
        kernel_unpacked=''
    fi
}

# look_around [lint]: fills `missing`.
look_around() {
    missing=()
    has_certificates || missing+=(certificates)
    has_compiler || missing+=(compiler)
    has_rust || missing+=(rust)
    if [[ $1 == lint ]] && lint_is_ours_to_install; then
        has_formatter || missing+=(formatter)
        has_linter || missing+=(linter)
    fi
    has_qemu || missing+=(qemu)
    has_kernel || missing+=(kernel)
    has_modules || missing+=(modules)
    has_busybox || missing+=(busybox)
    has_programs mke2fs || missing+=(mke2fs)
    if [[ $1 == lint ]]; then
        has_browser || missing+=(browser)
        has_npm || missing+=(npm)
        has_image_tools || missing+=(images)
        has_agent || missing+=(agent)
    fi
}

# A toolchain that did not come from Debian brings its own rustfmt and clippy;
# where they are absent the stages of scripts/test say so.
lint_is_ours_to_install() {
    ! has_rust || [[ $(package_of cargo) == cargo* ]]
}

is_missing() {
    [[ " ${missing[*]} " == *" $1 "* ]]
}

# require_supported_machine: ends where the set-up cannot help.
require_supported_machine() {
    if [[ -n ${VARDOGER_KERNEL:-} ]] && is_missing kernel; then
        fail "cannot read the kernel at $VARDOGER_KERNEL" \
            'VARDOGER_KERNEL names it; correct or unset that variable'
    fi
    if [[ -n ${VARDOGER_KERNEL:-} ]] && is_missing modules; then
        fail "no modules (virtio_blk.ko, xfs.ko, …) in $(modules_directory)" \
            "guests need those of the kernel that VARDOGER_KERNEL names; put them there, or unset it"
    fi
    [[ $(uname -m) == x86_64 ]] || fail "this machine is $(uname -m); only x86_64 is supported"
    distribution=$(os_release ID)
    codename=$(os_release VERSION_CODENAME)
    if [[ $distribution != debian ]] || ! command -v apt-get >/dev/null; then
        show_missing
        fail "the set-up installs on Debian only; this is ${distribution:-unknown}" \
            'install the above by hand so that the programs are on PATH;' \
            'for the kernel set VARDOGER_KERNEL to the file of a Linux kernel (vmlinuz)'
    fi
}

# require_not_shadowed: ends if an old program that is not Debian's comes first
# on PATH, since a package would not be found behind it.
require_not_shadowed() {
    local pair need program
    for pair in rust:cargo rust:rustc qemu:qemu-system-x86_64; do
        need=${pair%:*} program=${pair#*:}
        if is_missing "$need" && command -v "$program" >/dev/null \
            && [[ -z $(package_of "$program") ]]; then
            show_missing
            fail "$(command -v "$program") does not start or is too old, and is no package of Debian's" \
                'update it (rustup update, for a toolchain of rustup), or take it from PATH'
        fi
    done
}

# choose_packages: fills `packages` from `missing`. Debian 12 has a current
# toolchain only under names that end in -web.
choose_packages() {
    local need rust=() formatter=rustfmt linter=rust-clippy
    rust=(cargo rustc)
    if rust_is_web; then
        rust=(cargo-web rustc-web) formatter=rustfmt-web linter=rust-web-clippy
    fi
    packages=()
    for need in "${missing[@]}"; do
        case $need in
            certificates) packages+=(ca-certificates) ;;
            compiler) packages+=(gcc libc6-dev) ;;
            rust) packages+=("${rust[@]}") ;;
            formatter) packages+=("$formatter") ;;
            linter) packages+=("$linter") ;;
            qemu) packages+=(qemu-system-x86) ;;
            mke2fs) packages+=(e2fsprogs) ;;
            browser) packages+=(chromium fonts-dejavu-core) ;;
            npm) packages+=(npm) ;;
            images) choose_image_packages ;;
        esac
    done
}

# Only those that are missing: one that is there must not be upgraded.
choose_image_packages() {
    has_programs qemu-img qemu-io || packages+=(qemu-utils)
    has_programs sfdisk || packages+=(fdisk)
    has_programs sgdisk || packages+=(gdisk)
    ! has_programs mke2fs || has_programs debugfs dumpe2fs || packages+=(e2fsprogs)
    has_programs strace || packages+=(strace)
    has_programs mkfs.xfs xfs_db || packages+=(xfsprogs)
    has_programs mkfs.btrfs btrfs || packages+=(btrfs-progs)
    has_programs mkfs.fat fsck.fat || packages+=(dosfstools)
    has_programs mcopy mdel || packages+=(mtools)
    has_programs mkntfs ntfscp || packages+=(ntfs-3g)
    has_programs wimapply || packages+=(wimtools)
    has_programs rpm rpmbuild || packages+=(rpm)
    has_programs db5.3_load || packages+=(db5.3-util)
    has_programs sqlite3 || packages+=(sqlite3)
}

rust_is_web() {
    [[ $codename == bookworm || $(package_of cargo) == cargo-web ]]
}

# Debian 12's own QEMU is 7.2.
qemu_is_in_backports() {
    [[ $codename == bookworm ]] && is_missing qemu
}

show_missing() {
    local need
    for need in "${missing[@]}"; do
        say "  ${needs_label[$need]}$(show_found "$need")"
    done
}

# show_found NEED: what is there instead, for things that have a version.
show_found() {
    local program version
    case $1 in
        rust) program=cargo ;;
        qemu) program=qemu-system-x86_64 ;;
        *) return 0 ;;
    esac
    if version=$(program_version "$program"); then
        printf ' (found %s in %s)' "$version" "$(command -v "$program")"
    fi
}

# show_remedy: the commands that bring what is missing, for people to run.
show_remedy() {
    local ordinary=() package
    for package in "${packages[@]}"; do
        if [[ $package != qemu-system-x86 ]] || ! qemu_is_in_backports; then
            ordinary+=("$package")
        fi
    done
    heading 'How to get it'
    if ((${#ordinary[@]} > 0)); then
        say '  sudo apt-get update' \
            "  sudo apt-get install --no-install-recommends ${ordinary[*]}"
    fi
    if qemu_is_in_backports; then
        show_backports_remedy
    fi
    if is_missing kernel; then
        say "  the kernel needs no root: this script fetches $kernel_metapackage" \
            "  and unpacks it to $(kernel_file)"
    fi
    if is_missing modules; then
        say "  nor do its modules: this script takes them from the same package" \
            "  and unpacks them to $(modules_directory)"
    fi
    if is_missing busybox; then
        say '  busybox needs no root: this script fetches busybox-static' \
            "  and unpacks it to $("$repository/scripts/lib/busybox" --where)"
    fi
    if is_missing agent; then
        say '  nor does the agent: this script fetches qemu-guest-agent' \
            "  and unpacks it to $("$repository/scripts/lib/agent" --where)"
    fi
    if ((${#packages[@]} > 0)); then
        say '  as root, this script does all of that itself and leaves /etc/apt as it is'
    fi
}

show_backports_remedy() {
    local suite=$codename-backports list=/etc/apt/sources.list.d/backports.list
    say "  echo 'deb $(mirror_of_machine) $suite main' | sudo tee $list" \
        '  sudo apt-get update' \
        "  sudo apt-get install --no-install-recommends -t $suite qemu-system-x86"
}

# mirror_of_machine: where this machine gets Debian from.
mirror_of_machine() {
    local mirror
    # shellcheck disable=SC2016 # a name for apt, not for the shell
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        'Origin: Debian' 'Component: main' "Codename: $codename" 2>/dev/null | head -n 1)
    printf '%s\n' "${mirror:-MIRROR}"
}

# install_missing ask|yes: the plan, the question, the deed.
install_missing() {
    apt_view_open
    say "${dim}reading package lists …${plain}"
    apt_update
    if qemu_is_in_backports && ! apt_add_backports "$codename"; then
        fail_apt "apt knows no main archive of Debian $codename, so not its backports either"
    fi
    show_missing
    require_new_enough
    ((${#packages[@]} == 0)) || plan_packages
    ! needs_kernel_package || plan_kernel
    ! is_missing busybox || plan_unpacking busybox-static busybox
    ! is_missing agent || plan_unpacking qemu-guest-agent agent
    if [[ $1 == ask ]] && on_terminal; then
        agreed 'Go on?' || fail 'stopped before anything was changed'
    fi
    ((${#packages[@]} == 0)) || install_packages
    ! needs_kernel_package || unpack_kernel
    ! is_missing busybox || unpack_program busybox-static busybox busybox
    ! is_missing agent || unpack_program qemu-guest-agent qemu-ga agent
}

# require_new_enough: ends if the archive's QEMU or Rust is too old as well.
require_new_enough() {
    local package version wanted
    for package in "${packages[@]}"; do
        case $package in
            qemu-system-x86) wanted=1:$qemu_major_min ;;
            rustc | rustc-web) wanted=$rust_version_min ;;
            *) wanted=0 ;;
        esac
        version=$(apt_candidate "$package")
        [[ -n $version ]] || fail_apt "apt has no package $package"
        dpkg --compare-versions "$version" ge "$wanted" \
            || fail "apt has $package $version, but ${wanted#1:} or newer is needed" \
                'install a newer one by another way, so that it is first on PATH'
    done
}

# fail_apt LINE: an error whose cause may be that the lists could not be fetched.
fail_apt() {
    sed -n 's/^\([EW]:.*\)/       \1/p' "$apt_view/update.log" >&2
    fail "$1" 'does the network work? else see /etc/apt/sources.list and /etc/apt/sources.list.d'
}

# plan_packages: shows what apt would do, and ends if that would do harm.
plan_packages() {
    local plan
    local -a objections
    if ! plan=$(apt_get -s install --no-install-recommends "${packages[@]}" 2>&1); then
        say "$plan" >&2
        fail "apt cannot install ${packages[*]}"
    fi
    mapfile -t objections < <(apt_objections <<<"$plan")
    if ((${#objections[@]} > 0)); then
        fail 'installing would change what this machine has; apt would' \
            "${objections[@]/#/  }" \
            'if that is right, do it yourself with apt-get; or put the missing programs' \
            'on PATH by another way; then start again'
    fi
    heading "Packages that apt-get would install: $(grep -c '^Inst ' <<<"$plan")"
    sed -nE -e 's/^Inst (\S+) \[(\S+)\] \((\S+) .*/  \1 \2 → \3/p' \
        -e 's/^Inst (\S+) \((\S+) .*/  \1 \2/p' <<<"$plan"
}

# A kernel and its modules are of one package.
needs_kernel_package() {
    is_missing kernel || is_missing modules
}

# plan_kernel: names the package whose kernel will be unpacked.
plan_kernel() {
    kernel_package=$(apt-cache "${apt_options[@]}" depends "$kernel_metapackage" 2>/dev/null \
        | sed -n 's/^ *Depends: \(linux-image-.*-cloud-amd64\)$/\1/p' | head -n 1)
    [[ -n $kernel_package ]] || fail_apt "apt has no package $kernel_metapackage"
    heading 'To be unpacked, not installed'
    say "  $kernel_package $(apt_candidate "$kernel_package")" "  to $(kernel_file)" \
        "  and $(modules_directory)"
}

# plan_unpacking PACKAGE FINDER: names a package of which one program is taken,
# and where scripts/lib/FINDER looks for it.
plan_unpacking() {
    local version
    version=$(apt_candidate "$1")
    [[ -n $version ]] || fail_apt "apt has no package $1"
    heading 'To be unpacked, not installed'
    say "  $1 $version" "  to $("$repository/scripts/lib/$2" --where)"
}

install_packages() {
    heading 'Installing'
    say 'this can take a minute …'
    DEBIAN_FRONTEND=noninteractive apt_get -q install --yes --no-remove \
        --no-install-recommends -o Dpkg::Options::=--force-confold "${packages[@]}" \
        </dev/null >"$apt_view/install.log" 2>&1 && return
    cat "$apt_view/install.log" >&2
    fail "apt could not install ${packages[*]}" 'its own words are above'
}

# What the tests' guests may load: file systems, and what disks and channels
# need. ext2, ext3 and ext4 are built in.
kernel_modules=(fs/xfs fs/btrfs fs/fat fs/nls lib crypto arch/x86/crypto drivers/virtio
    'drivers/block/virtio_blk.ko*' 'drivers/char/virtio_console.ko*')

# unpack_kernel: fetches the package, which apt checks against its signed lists,
# and takes the kernel and modules out. The kernel comes last, so that it is
# never there without its release.
unpack_kernel() {
    local directory kernel
    directory=$(dirname "$(kernel_file)")
    mkdir -p "$directory"
    kernel_unpacked=$(mktemp -d "$directory/.unpacking.XXXXXX")
    say "fetching $kernel_package …"
    (cd "$apt_view/download" && apt_get -qq download "$kernel_package") \
        || fail "cannot fetch $kernel_package"
    dpkg-deb --fsys-tarfile "$apt_view/download/$kernel_package"_*.deb \
        | tar -x -C "$kernel_unpacked" --wildcards \
            './boot/vmlinuz-*' "${kernel_modules[@]/#/*/lib/modules/*/kernel/}" \
        || fail "cannot unpack $kernel_package into $directory"
    kernel=$(find "$kernel_unpacked/boot" -name 'vmlinuz-*')
    chmod 644 "$kernel"
    printf '%s %s\n' "${kernel##*/vmlinuz-}" "$(apt_candidate "$kernel_package")" \
        >"$kernel_unpacked/release"
    unpack_modules "$directory/modules"
    mv "$kernel_unpacked/release" "$directory/release"
    mv "$kernel" "$(kernel_file)"
}

# unpack_modules DIRECTORY: all modules side by side, not compressed, with the
# release that they are of.
unpack_modules() {
    local flat=$kernel_unpacked/modules
    mkdir "$flat"
    find "$kernel_unpacked" -name '*.ko.xz' -exec xz -d {} +
    find "$kernel_unpacked" -path "$flat" -prune -o -name '*.ko' -exec mv -t "$flat" {} +
    [[ -r $flat/virtio_blk.ko ]] || fail "$kernel_package holds no virtio_blk.ko"
    cp "$kernel_unpacked/release" "$flat/release"
    rm -rf -- "$1"
    mv "$flat" "$1"
}

# unpack_program PACKAGE PROGRAM FINDER: the same for one program that tests
# run; it comes last, whole.
unpack_program() {
    local program unpacked="$apt_view/download/$1"
    program=$("$repository/scripts/lib/$3" --where)
    mkdir -p "$(dirname "$program")" "$unpacked"
    say "fetching $1 …"
    (cd "$apt_view/download" && apt_get -qq download "$1") || fail "cannot fetch $1"
    dpkg-deb --extract "$apt_view"/download/"$1"_*.deb "$unpacked" \
        || fail "cannot unpack $1 into $unpacked"
    cp "$(find "$unpacked" -path "*bin/$2" -type f)" "$program.new"
    mv "$program.new" "$program"
}

# fail_still_missing: something older stands before what was installed.
fail_still_missing() {
    heading 'Still missing after the set-up'
    show_missing
    fail 'what was installed is not what is found' \
        "an older program may come first on PATH: $PATH"
}

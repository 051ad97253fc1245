# shellcheck shell=bash
# A private view of apt: the machine's own sources plus Debian's backports for
# QEMU, without a trace in /etc/apt or /var/lib/apt.
#
# The view is one temporary directory:
#   sources.list.d/  copies of the machine's entries, and backports.{list,sources}
#   preferences      the machine's, then pins: from backports nothing but QEMU
#   lists/           package lists, seeded with the machine's
#   download/        packages that are only unpacked
# Proxies, keys, credentials and all other settings are the machine's, since
# apt.conf stays in force. Sourced; the caller calls apt_view_close at its end.

apt_view=
apt_options=()

# Packages that may come from backports and, being QEMU's own, may be upgraded.
qemu_packages='qemu-* seabios ipxe-qemu'

# apt_view_open: makes the view; nothing is fetched yet.
apt_view_open() {
    local lists parts preferences
    eval "$(apt-config shell lists Dir::State::lists/d parts Dir::Etc::sourceparts/d \
        preferences Dir::Etc::preferences/f)"
    apt_view=$(mktemp -d "${TMPDIR:-/var/tmp}/vardoger-setup.XXXXXX")
    # apt fetches as a user of its own, which must reach the lists in here.
    chmod 755 "$apt_view"
    mkdir -p "$apt_view"/{sources.list.d,lists/partial,download}
    cp "$parts"/*.{list,sources} "$apt_view/sources.list.d/" 2>/dev/null || true
    cp "$lists"/*_* "$apt_view/lists/" 2>/dev/null || true
    cat "$preferences" >"$apt_view/preferences" 2>/dev/null || true
    if ((EUID == 0)) && id _apt >/dev/null 2>&1; then
        chown _apt "$apt_view/lists/partial" "$apt_view/download"
    fi
    apt_options=(
        -o "Dir::Etc::sourceparts=$apt_view/sources.list.d"
        -o "Dir::Etc::preferences=$apt_view/preferences"
        -o "Dir::State::lists=$apt_view/lists"
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o Acquire::Languages=none
        -o APT::Keep-Downloaded-Packages=false
        -o DPkg::Lock::Timeout=120
    )
}

# apt_view_close: removes the view; harmless when there is none.
apt_view_close() {
    if [[ -n $apt_view ]]; then
        rm -rf -- "$apt_view"
        apt_view=
    fi
}

# apt_get ARGUMENT…: apt-get in the view.
apt_get() {
    apt-get "${apt_options[@]}" "$@"
}

# apt_update: fetches the lists. A failing source is an error only if what we
# want is then not to be had, so its words are kept for that case.
apt_update() {
    apt_get update >"$apt_view/update.log" 2>&1 || true
}

# apt_candidate PACKAGE: the version that apt would install; empty if none.
apt_candidate() {
    apt-cache "${apt_options[@]}" policy "$1" \
        | sed -n 's/^  Candidate: //p' | grep -vxF '(none)' || true
}

# apt_main_entry CODENAME: where the machine's entry for Debian's main archive
# stands, as FILE:NUMBER (a line, or a paragraph of a .sources file).
apt_main_entry() {
    # shellcheck disable=SC2016 # a name for apt, not for the shell
    apt_get indextargets --format '$(SOURCESENTRY)' \
        'Created-By: Packages' 'Origin: Debian' 'Component: main' "Codename: $1" \
        | head -n 1
}

# apt_backports_source FILE:NUMBER SUITE: that entry with only its suite changed:
# same mirror, same keys, same options.
apt_backports_source() {
    local file=${1%:*} number=${1##*:}
    if [[ $file != *.sources ]]; then
        sed -nE "${number}s/^deb\s+(\[[^]]*\]\s+)?(\S+)\s.*/deb \1\2 $2 main/p" "$file"
        return
    fi
    grep -v '^#' "$file" | awk -v number="$number" -v suite="$2" '
        BEGIN { RS = ""; FS = "\n" }
        NR == number {
            for (i = 1; i <= NF; i++) {
                if ($i !~ /^[ \t]/)
                    replaced = tolower($i) ~ /^(types|suites|components):/
                if (!replaced)
                    print $i
            }
            print "Types: deb\nSuites: " suite "\nComponents: main"
        }'
}

# apt_add_backports CODENAME: adds the suite and its pins to the view.
apt_add_backports() {
    local suite=$1-backports entry kind
    cat >>"$apt_view/preferences" <<PINS

Package: *
Pin: release n=$suite
Pin-Priority: -1

Package: $qemu_packages
Pin: release n=$suite
Pin-Priority: 990
PINS
    if [[ -n $(apt_main_entry "$suite") ]]; then
        return 0 # the machine has the suite already
    fi
    entry=$(apt_main_entry "$1")
    [[ -n $entry ]] || return 1
    kind=list
    [[ ${entry%:*} == *.sources ]] && kind=sources
    apt_backports_source "$entry" "$suite" >"$apt_view/sources.list.d/backports.$kind"
    apt_update
}

# apt_objections: reads `apt-get -s install` on stdin and prints each line that
# would remove a package, or upgrade one that is not QEMU's own.
apt_objections() {
    local verb name old
    while read -r verb name old _; do
        case $verb in
            Remv) printf 'remove %s\n' "$name" ;;
            Inst) [[ $old != \[* ]] || apt_is_qemu "$name" || printf 'upgrade %s\n' "$name" ;;
        esac
    done
}

# apt_is_qemu PACKAGE: whether PACKAGE is one of QEMU's own.
apt_is_qemu() {
    local pattern
    local -a patterns
    read -ra patterns <<<"$qemu_packages"
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2053 # the right side is meant as a pattern
        [[ ${1%%:*} == $pattern ]] && return 0
    done
    return 1
}

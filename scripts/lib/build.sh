# shellcheck shell=bash disable=SC2034,SC2154 # variables pass to and from those who source it
# The build that the demo, the tests and the benches share: one profile, one
# target directory, so that nothing is compiled twice. Sourced.

target_directory=${CARGO_TARGET_DIR:-$repository/target}

# build_guest: the static program that runs inside the virtual machines.
# vardoger carries it, so it comes first.
build_guest() {
    cargo xtask guest
}

# build_vardoger [--jobs N]: everything that a run needs.
build_vardoger() {
    heading 'Build'
    build_guest || fail 'cannot build the guest program' 'the words of cargo are above'
    cargo build "$@" || fail 'cannot build vardoger' 'the words of cargo are above'
}

# shellcheck shell=bash
# Reads what cargo test prints. Sourced; runs nothing by itself.

# sum_results: adds up cargo's `test result:` lines on stdin.
sum_results() {
    awk '/^test result:/ {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) ok += $(i - 1)
            if ($i ~ /^failed/) bad += $(i - 1)
        }
    }
    END { print ok + 0, bad + 0 }'
}

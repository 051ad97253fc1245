# shellcheck shell=bash disable=SC2034 # what is set here is read by those who source it
# How the scripts speak: headings, plain lines, errors, one question.
#
# Lines go to stdout, errors to stderr. Colour only on a terminal and never
# under NO_COLOR. Sourced; runs nothing by itself.

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    colour=always
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    colour=never
    bold='' dim='' red='' green='' plain=''
fi

# heading TEXT: opens a part of the output.
heading() {
    printf '\n%s%s%s\n' "$bold" "$1" "$plain"
}

# say LINE…: each argument is one line.
say() {
    printf '%s\n' "$@"
}

# fail LINE…: says what went wrong and what to do, and ends the script.
fail() {
    printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
    shift
    if (($# > 0)); then
        printf '       %s\n' "$@" >&2
    fi
    exit 1
}

# usage_error LINE: wrong flags end with the exit code for wrong usage.
usage_error() {
    printf '%serror:%s %s; try --help\n' "$red" "$plain" "$1" >&2
    exit 2
}

# on_terminal: whether somebody is there to answer a question.
on_terminal() {
    [[ -t 0 && -t 1 ]]
}

# agreed QUESTION: the answer of whoever sits at the terminal; Enter means yes.
agreed() {
    local answer
    printf '%s [Y/n] ' "$1"
    read -r answer || return 1
    [[ -z $answer || $answer == [Yy]* ]]
}

# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder; sourced, not run.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
MSGL_HOME=${MSGL_HOME:-$HOME/.cache/msgl}
model_name=SmolLM2-135M-Instruct
model_dir=$MSGL_HOME/models/$model_name

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# need_space FOLDER MIB: dies when the file system of FOLDER has less than MIB free.
need_space() {
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -ge "$2" ] ||
        die "$1 has $free MiB free, $2 MiB are needed. Make room, or set MSGL_HOME to a folder on another disk."
}

# Names of a package list, without comments.
names() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@"; }

make_home() {
    mkdir -p "$MSGL_HOME" 2>/dev/null || true
    [ -w "$MSGL_HOME" ] ||
        die "cannot write to $MSGL_HOME. Set MSGL_HOME to a folder of your own."
}

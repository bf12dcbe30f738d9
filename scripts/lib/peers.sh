# Programs of Debian's packages that are unpacked, not installed: an installed daemon would start by
# itself. Sourced after common.sh, with `peers` set to the folder that they go to.
# shellcheck shell=bash

peers="${peers:?the folder that programs are unpacked to}"

# Usage: unpack PACKAGE PROGRAM-PATH-INSIDE LIBRARY-PACKAGE…
unpack() {
  local package=$1 program=$2 work
  shift 2
  if ! have "$(basename "$program")" && [[ ! -x $peers/$package/$program ]]; then
    # The libraries are harmless, so they are installed as usual.
    (($#)) && apt_need "$@"
    say "unpacking $package"
    work="$(mktemp -d "$peers/unpack.XXXXXX")"
    chmod 755 "$work"
    (cd "$work" && apt-get download -qq "$package" >/dev/null 2>&1) || die "apt-get could not download $package"
    dpkg -x "$work"/*.deb "$work/tree"
    rm -rf "${peers:?}/$package"
    mv "$work/tree" "$peers/$package"
    rm -rf "$work"
  fi
}

# Usage: path_only NAME PATH: an installed program, or the one that was unpacked.
path_only() { command -v "$1" || printf '%s' "$2"; }
# The folder that holds a file of this name, unpacked or installed.
folder_of() {
  local found
  found="$(find "$2" /usr/lib -name "$1" -print -quit 2>/dev/null | head -n 1)"
  dirname "$found"
}

# Shared by the scripts: where things are, and how they speak. Sourced, never run.
# shellcheck shell=bash

set -Eeuo pipefail

# The checkout, whatever folder the script was called from.
ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)"
# What runs now (pid files): gone after a reboot, as it should be.
NONNA_RUN_DIR="${NONNA_RUN_DIR:-/run/nonna-dev}"
# What is only kept to save time (root file systems of the base images). Never relied on.
NONNA_CACHE_DIR="${NONNA_CACHE_DIR:-/var/cache/nonna}"
NONNA_LOG_DIR="${NONNA_LOG_DIR:-/var/log/nonna-dev}"
# No script wants a terminal's answer.
export DEBIAN_FRONTEND=noninteractive
export ROOT NONNA_RUN_DIR NONNA_CACHE_DIR NONNA_LOG_DIR

say() { printf '==> %s\n' "$*"; }
note() { printf '    %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# The folder of what cargo built with a profile; what it calls dev lies in one called debug.
built() { printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}/${1/#dev/debug}"; }

have() { command -v "$1" >/dev/null 2>&1; }

# The process that a pid file names, and nothing else: a pid is reused, so its program must fit too.
# Usage: alive PIDFILE PROGRAM
alive() {
  local pid
  [[ -s $1 ]] || return 1
  pid="$(<"$1")"
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  [[ "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" == *"$2"* ]]
}

# Wait until a command succeeds. Usage: wait_for SECONDS COMMAND…
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

need_root() {
  [[ ${EUID} -eq 0 ]] || die "$(basename "$0") installs packages and starts the container engine, so it wants root: run it again with sudo"
}

# Install the Debian packages that are missing, and only ask the archive when one is.
# Usage: apt_need PACKAGE…
apt_need() {
  local missing=() package
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" == ii* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  need_root
  have apt-get || die "missing: ${missing[*]} (Debian's names), and there is no apt-get here to install them with"
  say "installing ${missing[*]}"
  mkdir -p "$NONNA_LOG_DIR"
  local log="$NONNA_LOG_DIR/apt.log"
  {
    apt-get update -qq &&
      apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"
  } >"$log" 2>&1 </dev/null || {
    tail -n 30 "$log" >&2
    die "apt-get could not install ${missing[*]}; all of its output is in $log"
  }
}

# The container engine as the scripts see it. Sourced after common.sh.
# shellcheck shell=bash

ENGINE_SOCKET="${NONNA_ENGINE_SOCKET:-/var/run/docker.sock}"
# Written only when setup-engine started the engine itself.
ENGINE_PID="$NONNA_RUN_DIR/dockerd.pid"
ENGINE_OWNER="$NONNA_RUN_DIR/dockerd.owner"

engine_api() { curl -fsS --max-time "${ENGINE_TIMEOUT:-10}" --unix-socket "$ENGINE_SOCKET" "$@"; }
engine_answers() { ENGINE_TIMEOUT=3 engine_api http://engine/_ping >/dev/null 2>&1; }
engine_version() { engine_api http://engine/version | sed -n 's/.*"Version":"\([0-9][^"]*\)".*/\1/p'; }

image_exists() { engine_api -o /dev/null "http://engine/images/$1/json" 2>/dev/null; }
image_label() { engine_api "http://engine/images/$1/json" 2>/dev/null | sed -n 's/.*"'"$2"'":"\([^"]*\)".*/\1/p'; }

# Percent-encode for a query string.
url_encode() {
  local LC_ALL=C text=$1 out='' c i
  for ((i = 0; i < ${#text}; i++)); do
    c=${text:i:1}
    [[ $c == [a-zA-Z0-9._~/-] ]] || printf -v c '%%%02X' "'$c"
    out+=$c
  done
  printf '%s' "$out"
}

# The engine answers 200 and says in the stream that it failed: both are looked at.
# Usage: engine_stream COMMAND…   (COMMAND writes the engine's JSON lines to stdout)
engine_stream() {
  local answer
  answer="$("$@")" || { printf '%s\n' "$answer" | tail -n 5 >&2; return 1; }
  if [[ $answer == *'"errorDetail"'* || $answer == *'"error"'* ]]; then
    printf '%s\n' "$answer" | grep '"error' >&2
    return 1
  fi
}

# Import a root file system as an image. Usage: image_import NAME:TAG TARFILE [DOCKERFILE-LINE…]
image_import() {
  local name=$1 file=$2 query line
  shift 2
  query="fromSrc=-&repo=$(url_encode "${name%:*}")&tag=$(url_encode "${name##*:}")"
  for line in "$@"; do query+="&changes=$(url_encode "$line")"; done
  ENGINE_TIMEOUT=300 engine_stream engine_api -X POST -H 'Content-Type: application/x-tar' -T "$file" \
    "http://engine/images/create?$query"
}

# Build an image from a folder with a Dockerfile. Usage: image_build NAME:TAG FOLDER
image_build() {
  ENGINE_TIMEOUT=600 engine_stream engine_api -X POST -H 'Content-Type: application/x-tar' \
    -T <(tar -C "$2" -c .) "http://engine/build?t=$(url_encode "$1")&rm=1&forcerm=1"
}

image_tag() {
  engine_api -X POST "http://engine/images/$1/tag?repo=$(url_encode "${2%:*}")&tag=$(url_encode "${2##*:}")"
}

# Usage: image_pull NAME:TAG
image_pull() {
  ENGINE_TIMEOUT=180 engine_stream engine_api -X POST \
    "http://engine/images/create?fromImage=$(url_encode "${1%:*}")&tag=$(url_encode "${1##*:}")"
}

# Where the demo lives and how it is talked to. Sourced after common.sh and engine.sh.
# shellcheck shell=bash

DEMO_APP="$ROOT/examples/guestbook"
DEMO_DIR="${NONNA_DEMO_DIR:-$ROOT/.demo}"
DEMO_PID="$DEMO_DIR/server.pid"
DEMO_LOG="$DEMO_DIR/server.log"
DEMO_SETTINGS="$DEMO_DIR/nonna-server.toml"
# The installation's id: every container, network and volume of the demo carries it as a label.
DEMO_INSTALLATION="$DEMO_DIR/installation"
# The base images that setup had to make or pull for the demo, one a line.
DEMO_IMAGES="$DEMO_DIR/images"
# There where the engine's build cache was empty before the demo: then it is emptied after it.
DEMO_NO_CACHE="$DEMO_DIR/no-build-cache"

NONNA_PROFILE="${NONNA_PROFILE:-ci}"
NONNA_BIN="${NONNA_BIN:-$(built "$NONNA_PROFILE")/nonna}"
# A command that each of Nonna's own processes is started by, such as scripts/confine.
NONNA_WRAP="${NONNA_WRAP:-}"

# The CLI, with a login of its own: the user's stays as it is.
nonna() { env XDG_CONFIG_HOME="$DEMO_DIR/config" ${NONNA_WRAP:+"$NONNA_WRAP"} "$NONNA_BIN" "$@"; }

demo_setting() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" "$DEMO_SETTINGS"; }
demo_runs() { alive "$DEMO_PID" "$DEMO_SETTINGS"; }
demo_answers() { curl -fsS --max-time 2 "http://$(demo_setting api)/healthz"; }

# The demo's resources of one kind (containers, networks or volumes), one id a line.
demo_resources() {
  local filter path
  [[ -s $DEMO_INSTALLATION ]] || return 0
  filter="filters=$(url_encode "{\"label\":[\"nonna.installation=$(<"$DEMO_INSTALLATION")\"]}")"
  case $1 in
    containers) path="containers/json?all=1&$filter" ;;
    *) path="$1?$filter" ;;
  esac
  engine_api "http://engine/$path" | jq -r 'if type == "array" then .[].Id else (.Volumes // [])[].Name end' | sort
}

# The images that were built for the demo: tags with the installation's label.
demo_built_images() {
  [[ -s $DEMO_INSTALLATION ]] || return 0
  engine_api "http://engine/images/json?filters=$(url_encode "{\"label\":[\"nonna.image.installation=$(<"$DEMO_INSTALLATION")\"]}")" |
    jq -r '.[].Id' | sort -u
}

# The certificate of the authority that the demo's server made for *.localhost, where there is one.
demo_authority() { find "$DEMO_DIR/data" -name '*.pem' -path '*authority*' -print -quit 2>/dev/null || true; }

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Print the first free port of those given; ports that only root may take are left to root.
free_port() {
  local port lowest
  lowest="$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null || echo 1024)"
  for port in "$@"; do
    ((EUID == 0 || port >= lowest)) && port_free "$port" && printf '%s\n' "$port" && return
  done
  die "none of the ports $* is free"
}

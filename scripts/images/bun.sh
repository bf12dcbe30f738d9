# The image that Bun's apps are built and run in. Sourced by setup-images.
# shellcheck shell=bash

BUN_TAGS=(oven/bun:1-slim)

# Print the path of Bun's program, as its packages in the npm registry have it.
bun_program() {
  local file="$NONNA_CACHE_DIR/bun1" fetched package
  if [[ ! -x $file ]]; then
    say "fetching Bun 1 from the npm registry" >&2
    # The baseline build asks nothing of the processor that an old one has not.
    package=@oven/bun-linux-x64-baseline
    [[ $(uname -m) == x86_64 ]] || package=@oven/bun-linux-aarch64
    fetched="$(npm_unpack "$package@1")"
    install -D -m 755 "$fetched/package/bin/bun" "$file.part"
    mv "$file.part" "$file"
    rm -rf "$fetched"
  fi
  printf '%s\n' "$file"
}

make_bun() {
  find_missing "${BUN_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local file context="$work/bun"
  file="$(bun_program)"
  mkdir "$context"
  cp "$file" "$context/bun"
  # Bun stands in for node where a script asks for it, as in the official image.
  make_of_packages "${missing[@]}" -- <<'DOCKERFILE'
COPY bun /usr/local/bin/bun
ENV BUN_RUNTIME_TRANSPILER_CACHE_PATH=0 BUN_INSTALL_BIN=/usr/local/bin PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bun-node-fallback-bin
RUN groupadd --gid 1000 bun && useradd --uid 1000 --gid bun --shell /bin/sh --create-home bun && ln -s bun /usr/local/bin/bunx && mkdir -p /usr/local/bun-node-fallback-bin && ln -s /usr/local/bin/bun /usr/local/bun-node-fallback-bin/node && bun --version
DOCKERFILE
}

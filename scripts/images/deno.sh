# The image that Deno's apps are built and run in. Sourced by setup-images.
# shellcheck shell=bash

DENO_TAGS=(denoland/deno:debian)

# Print the path of Deno's program, as its wheel on PyPI has it.
deno_program() {
  local file="$NONNA_CACHE_DIR/deno2" fetched
  if [[ ! -x $file ]]; then
    say "fetching Deno 2 from PyPI" >&2
    fetched="$(wheel_unpack 'deno==2.*')"
    install -D -m 755 "$(find "$fetched" -type f -name deno -size +20M | head -n 1)" "$file.part"
    mv "$file.part" "$file"
    rm -rf "$fetched"
  fi
  printf '%s\n' "$file"
}

make_deno() {
  find_missing "${DENO_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local file context="$work/deno"
  file="$(deno_program)"
  mkdir "$context"
  cp "$file" "$context/deno"
  make_of_packages "${missing[@]}" -- <<'DOCKERFILE'
COPY deno /usr/bin/deno
ENV DENO_DIR=/deno-dir/ DENO_INSTALL_ROOT=/usr/local
RUN useradd --uid 1993 --user-group deno && mkdir /deno-dir && chown deno:deno /deno-dir && deno --version
ENTRYPOINT ["deno"]
CMD ["repl"]
DOCKERFILE
}

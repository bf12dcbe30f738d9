# The image that Deno's apps are built and run in. Sourced by setup-images.
# shellcheck shell=bash

DENO_TAGS=(denoland/deno:debian)

make_deno() {
  find_missing "${DENO_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local file context="$work/deno"
  file="$(wheel_program deno2 'deno==2.*' 'deno')"
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

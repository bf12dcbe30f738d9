# The images that Elixir apps are built and run in. Sourced by setup-images.
# shellcheck shell=bash

ELIXIR_TAGS=(elixir:1.14 elixir:1.14-slim)

make_elixir() {
  find_missing "${ELIXIR_TAGS[@]}"
  ((${#missing[@]})) || return 0
  make_of_packages "${missing[@]}" -- elixir erlang-inets erlang-ssl <<'DOCKERFILE'
ENV LANG=C.UTF-8
RUN mix --version
DOCKERFILE
}

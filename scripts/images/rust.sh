# The image that Rust's programs are built in. Sourced by setup-images.
# shellcheck shell=bash

RUST_TAGS=(rust:1-bookworm)

make_rust() {
  find_missing "${RUST_TAGS[@]}"
  ((${#missing[@]})) || return 0
  have rustc || export PATH="$HOME/.cargo/bin:$PATH"
  have rustc || die "there is no Rust here to make ${missing[*]} of; run scripts/setup-build-tools first"
  # This machine's own compiler, without its documentation.
  local from context="$work/rust"
  from="$(rustc --print sysroot)"
  mkdir -p "$context/rust/bin"
  cp -a "$from"/bin/{cargo,rustc} "$context/rust/bin/"
  cp -a "$from/lib" "$context/rust/lib"
  make_of_packages "${missing[@]}" -- gcc libc6-dev <<'DOCKERFILE'
COPY rust /usr/local
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir -p /usr/local/cargo/bin && rustc --version && cargo --version
DOCKERFILE
}

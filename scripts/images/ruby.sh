# The images that Ruby apps are built and run in. Sourced by setup-images.
# shellcheck shell=bash

# Debian's Ruby, with the gems of examples/ruby-app and examples/jekyll-site: rubygems.org is not
# always to be reached, and Bundler takes gems that are there.
RUBY_TAGS=(ruby:3.1 ruby:3.1-slim)

make_ruby() {
  find_outdated 2 "${RUBY_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local context="$work/ruby"
  mkdir "$context"
  # Debian raises a gem's version with its security updates, and the example's lock names one: a gem
  # that is there under another number is there under the lock's number too.
  sed -n 's/^    \([^ ]*\) (\([0-9.]*\))$/\1 \2/p' "$ROOT"/examples/{ruby-app,jekyll-site}/Gemfile.lock >"$context/locked"
  cat >"$context/alias-gems" <<'SCRIPT'
cd /usr/share/rubygems-integration/all || exit
while read -r name version; do
  for spec in specifications/"$name"-[0-9]*.gemspec; do
    found=${spec#specifications/"$name"-}
    found=${found%.gemspec}
    [ -e "$spec" ] && [ "$found" != "$version" ] || continue
    sed "1,10s/$found/$version/" "$spec" >"specifications/$name-$version.gemspec"
    [ ! -d "gems/$name-$found" ] || ln -s "$name-$found" "gems/$name-$version"
    break
  done
done
# Bundler takes a gem without a folder for one that was deleted.
for spec in specifications/*.gemspec; do
  spec=${spec#specifications/}
  [ -e "gems/${spec%.gemspec}" ] || mkdir -p "gems/${spec%.gemspec}"
done
SCRIPT
  make_of_packages "${missing[@]}" -- ruby bundler ruby-sinatra puma jekyll <<'DOCKERFILE'
LABEL nonna.recipe=2
COPY locked alias-gems /tmp/
RUN sh /tmp/alias-gems </tmp/locked && rm /tmp/locked /tmp/alias-gems
ENV LANG=C.UTF-8 GEM_HOME=/usr/local/bundle BUNDLE_SILENCE_ROOT_WARNING=1 BUNDLE_APP_CONFIG=/usr/local/bundle PATH=/usr/local/bundle/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN mkdir -p /usr/local/bundle && chmod 1777 /usr/local/bundle && bundle --version
DOCKERFILE
}

#!/bin/sh
# Copies what a Java build has made to /out. Usage: pick KIND FOLDER
#   jar      the one jar (or war) that can be run, as /out/app.jar
#   quarkus  Quarkus's folder
#   dist     Gradle's distribution, its script as /out/bin/app
#   all      every jar and distribution, at its own place
set -eu
kind=$1
folder=$2
mkdir -p /out

refuse() {
  printf '%s\n' "$1" >&2
  exit 1
}

jar() {
  for where in "$folder/target" "$folder/build/libs"; do
    [ -d "$where" ] || continue
    # Those with their dependencies in them go first.
    for ending in -runner -all -fat -shaded -exec -boot -jar-with-dependencies ''; do
      found=$(find "$where" -maxdepth 1 -type f \( -name "*$ending.jar" -o -name "*$ending.war" \) \
        ! -name '*-sources.jar' ! -name '*-javadoc.jar' ! -name '*-tests.jar' ! -name '*-plain.jar' \
        ! -name '*-plain.war' ! -name 'original-*')
      [ -n "$found" ] || continue
      [ "$(printf '%s\n' "$found" | wc -l)" = 1 ] || refuse "nonna: several jars were made, and nothing says which one runs:
$found
nonna: name it in a Procfile: web: java -jar PATH"
      cp "$found" "/out/$1"
      return
    done
  done
  refuse "nonna: the build made no jar below $folder/target or $folder/build/libs"
}

case $kind in
  jar) jar app.jar ;;
  quarkus)
    if [ -d "$folder/target/quarkus-app" ]; then
      cp -a "$folder/target/quarkus-app/." /out/
    elif [ -d "$folder/build/quarkus-app" ]; then
      cp -a "$folder/build/quarkus-app/." /out/
    else
      jar quarkus-run.jar
    fi
    ;;
  dist)
    set -- "$folder"/build/install/*/
    if [ $# != 1 ] || [ ! -d "$1/bin" ]; then
      refuse "nonna: the build made no distribution, or several: $*"
    fi
    cp -a "$1." /out/
    rm -f /out/bin/*.bat
    set -- /out/bin/*
    [ $# = 1 ] || refuse "nonna: the distribution has several scripts: $*; name one in a Procfile: web: bin/NAME"
    [ "$1" = /out/bin/app ] || ln -s "${1##*/}" /out/bin/app
    ;;
  all)
    find . -type f \( -path '*/target/*.jar' -o -path '*/target/*.war' -o -path '*/target/quarkus-app/*' \
      -o -path '*/build/libs/*' -o -path '*/build/install/*' -o -path '*/build/quarkus-app/*' \) \
      -exec cp -a --parents -t /out {} +
    ;;
esac

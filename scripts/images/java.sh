# The images that Java apps are built and run in. Sourced by setup-images.
# shellcheck shell=bash

JAVA_TAGS=(eclipse-temurin:17-jre)
MAVEN_TAGS=(maven:3.9-eclipse-temurin-17)

make_java() {
  find_missing "${JAVA_TAGS[@]}"
  if ((${#missing[@]})); then
    make_of_packages "${missing[@]}" -- openjdk-17-jre-headless </dev/null
  fi
  find_missing "${MAVEN_TAGS[@]}"
  ((${#missing[@]})) || return 0
  # Debian's Maven. Where no repository of artifacts is reached, Debian's packages of them are one:
  # a folder in Maven's own layout.
  context="$work/maven" make_of_packages "${missing[@]}" -- openjdk-17-jdk-headless maven libmaven-compiler-plugin-java \
    libmaven-jar-plugin-java libmaven-resources-plugin-java libsurefire-java libmaven-shade-plugin-java libgoogle-gson-java junit4 <<'DOCKERFILE'
RUN printf '%s\n' '<settings><mirrors><mirror><id>debian</id><mirrorOf>*</mirrorOf><url>file:///usr/share/maven-repo</url></mirror></mirrors></settings>' >/usr/share/maven/conf/settings.xml && mvn --version
DOCKERFILE
}

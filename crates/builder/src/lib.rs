//! Source to image: contexts, detection of languages, builds.

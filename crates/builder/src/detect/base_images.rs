//! The images that generated Dockerfiles begin from.

/// The release of Python that apps get that do not ask for one.
pub const PYTHON: &str = "3.13";
/// The releases of Python that are tried for a range such as `<3.13`, the
/// preferred one first.
pub const PYTHONS: &[&str] = &["3.13", "3.12", "3.14", "3.11", "3.10", "3.9"];
/// The release of Node.js that apps get that do not ask for one.
pub const NODE: u32 = 22;
/// The releases of Node.js with long support, the preferred one first.
pub const NODES: &[u32] = &[22, 24, 20, 18];
/// What serves static files: its web server takes about 1 MB of memory and
/// starts at once.
pub const BUSYBOX: &str = "busybox:latest";

/// The image of a release of Python.
#[must_use]
pub fn python(version: &str) -> String {
    format!("python:{version}-slim")
}

/// The image of a release of Node.js.
#[must_use]
pub fn node(version: &str) -> String {
    format!("node:{version}-slim")
}

/// Every image that an app which asks for nothing is built from.
#[must_use]
pub fn defaults() -> Vec<String> {
    vec![python(PYTHON), node(&NODE.to_string()), BUSYBOX.to_owned()]
}

//! `nonna.toml`: reading it, with every mistake at once, and resolving it for
//! one environment.
//!
//! The manifest is optional, and so is all that stands in it. [`parse`] reads
//! the text; [`Manifest::default`] is what holds without a file;
//! [`Manifest::resolve`] lays an environment's overrides over the services, and
//! [`ServiceDeclaration::spec`] makes a release's specification of one.
//!
//! What may stand in it is one table (`fields`), from which the lists of known
//! fields, the published JSON Schema ([`schema`]) and the reference
//! ([`reference_markdown`]) are made.

mod base;
mod build;
mod declaration;
mod fields;
pub mod limits;
mod problem;
mod reader;
mod reference;
mod resolve;
mod schema;
mod service;
mod syntax;
mod top;
pub mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

pub(crate) use base::{Base, BaseService};
pub use declaration::{DeclaredPort, DeclaredSource, ServiceDeclaration};
pub use problem::{MAX_PROBLEMS, Problem, Problems};
pub(crate) use problem::{Report, shorten};
pub(crate) use reader::nearest;
pub use reference::reference_markdown;
pub use schema::schema;

use crate::name::Name;

/// The file's name.
pub const FILE_NAME: &str = "nonna.toml";

/// The service that a project has that declares none.
pub const DEFAULT_SERVICE: &str = "web";

/// The environment where a manifest and its reader name none.
pub const DEFAULT_ENVIRONMENT: &str = "production";

/// A manifest that was found good.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Manifest {
    /// The project's name; `None`: it follows from the folder's.
    pub project: Option<Name>,
    /// Where a deploy goes that is not told; `None`: [`DEFAULT_ENVIRONMENT`].
    pub environment: Option<Name>,
    /// Variables of the project.
    pub variables: BTreeMap<String, String>,
    /// How the manifest's own folder is built.
    build: build::Fields,
    services: BTreeMap<Name, service::Fields>,
    environments: BTreeMap<Name, Overrides>,
}

impl Manifest {
    /// The environment that says that it follows this branch.
    #[must_use]
    pub fn environment_of_branch(&self, branch: &str) -> Option<&Name> {
        self.environments
            .iter()
            .find(|(_, overrides)| overrides.branch.as_ref().is_some_and(|own| own.value == branch))
            .map(|(name, _)| name)
    }
}

/// What differs in one environment.
#[derive(Debug, Clone, Default, PartialEq)]
struct Overrides {
    /// The branch that the environment follows.
    branch: Option<At<String>>,
    variables: BTreeMap<String, String>,
    services: BTreeMap<Name, service::Fields>,
}

/// A value and where it stands in the file.
#[derive(Debug, Clone)]
struct At<T> {
    value: T,
    at: Range<usize>,
}

impl<T: PartialEq> PartialEq for At<T> {
    /// Where a value stands does not make it another one.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Reads the text of a manifest; `file` is what its mistakes call it.
///
/// # Errors
/// Every mistake in it, in the order of the file.
pub fn parse(text: &str, file: &str) -> Result<Manifest, Problems> {
    parse_over(text, file, &Base::default()).map(|(manifest, _)| manifest)
}

/// Reads the text of a manifest that stands over what the folder's other files
/// say; tells whether these count.
pub(crate) fn parse_over(text: &str, file: &str, base: &Base) -> Result<(Manifest, bool), Problems> {
    let mut report = problem::Report::new(file, text);
    if text.len() > limits::MAX_FILE {
        report.add(
            &(0..0),
            format!(
                "a manifest may have {} bytes at most, this one has {}",
                limits::MAX_FILE,
                text.len()
            ),
        );
        return report.finish().map(|()| (Manifest::default(), false));
    }
    let read = syntax::with_table(text, &mut report, |root, whole, report| {
        let mut manifest = top::read(root, whole, base, report);
        let counts = base::lay_under(&mut manifest, base);
        resolve::check(&manifest, whole, report);
        (manifest, counts)
    });
    report.finish().map(|()| read)
}

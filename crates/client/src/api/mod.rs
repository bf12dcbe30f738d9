//! One method a path of [`nonna_api::paths`].

mod builds;
mod contexts;
mod deployments;
mod git;
mod registries;
mod services;
mod system;
mod variables;

/// An environment of a project, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
}

impl Place {
    /// An environment of a project.
    #[must_use]
    pub fn new(project: impl Into<String>, environment: impl Into<String>) -> Self {
        Self {
            project: project.into(),
            environment: environment.into(),
        }
    }

    /// What fills an environment's path.
    fn fill(&self) -> [&str; 2] {
        [&self.project, &self.environment]
    }

    /// What fills the path of something in an environment.
    fn fill_with<'a>(&'a self, name: &'a str) -> [&'a str; 3] {
        [&self.project, &self.environment, name]
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.project, self.environment)
    }
}

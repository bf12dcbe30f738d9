//! An environment as files that run without Nonna.

use std::collections::{BTreeMap, HashMap};

use nonna_engine::{Code, Error, Result};
use nonna_model::ServiceId;
use nonna_model::build::BuildPlan;
use nonna_model::export::{ExportedBuild, ExportedEnvironment, ExportedService, compose, kubernetes};
use nonna_model::service::Source;
use nonna_store::records::EnvironmentSnapshot;

/// How each service is built of which no Dockerfile is named, or why that is
/// not known.
pub(crate) type Plans = HashMap<ServiceId, Result<BuildPlan>>;

/// The files of a format, by path.
pub(crate) fn files(
    snapshot: &EnvironmentSnapshot,
    plans: &Plans,
    format: Option<&str>,
) -> Result<BTreeMap<String, String>> {
    let environment = ExportedEnvironment {
        project: snapshot.scope.project_name.clone(),
        environment: snapshot.scope.environment_name.clone(),
        services: snapshot
            .services
            .iter()
            .filter_map(|service| {
                let current = service.current.as_ref()?;
                Some(ExportedService {
                    name: service.name.clone(),
                    release: current.release.clone(),
                    replicas: if current.paused { 0 } else { current.replicas },
                    build: match &current.release.spec.source {
                        Source::Build(_) => Some(ExportedBuild {
                            folder: current
                                .release
                                .spec
                                .folder
                                .clone()
                                .unwrap_or_else(|| ".".to_owned()),
                            generated: plans
                                .get(&service.id)
                                .and_then(|plan| plan.as_ref().ok()?.generated.clone()),
                            unknown: plans
                                .get(&service.id)
                                .and_then(|plan| Some(plan.as_ref().err()?.message.clone())),
                        }),
                        Source::Image { .. } => None,
                    },
                })
            })
            .collect(),
    };
    if environment.services.is_empty() {
        return Err(Error::user(
            Code::Conflict,
            "Nothing of this environment was deployed yet: there is nothing to export.",
        ));
    }
    let files = match format {
        None | Some("compose") => compose(&environment),
        Some("kubernetes") => kubernetes(&environment),
        Some(other) => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(Error::user(
                Code::InvalidInput,
                format!("`{shown}` is no format: write `compose` or `kubernetes`."),
            ));
        }
    };
    let files = files.map_err(|e| Error::bug(e.to_string()))?;
    Ok(files.into_iter().map(|f| (f.path, f.contents)).collect())
}

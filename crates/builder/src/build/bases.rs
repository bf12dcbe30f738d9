//! The images that builds begin from: which they were, and whether their names
//! mean others now.

use std::collections::{BTreeMap, HashMap};

use bollard::query_parameters::ListImagesOptionsBuilder;
use nonna_engine::Result;
use nonna_model::image::ImageReference;

use crate::engine::Engine;

/// What they were: references and ids.
pub(super) type Bases = BTreeMap<String, String>;

/// What these references mean on the machine now; those that it has not are
/// left out. One question to the engine, however many they are.
pub(super) async fn now<'r>(engine: &Engine, references: impl Iterator<Item = &'r str>) -> Result<Bases> {
    let wanted: Vec<(&str, Vec<String>)> = references
        .map(|reference| (reference, names(reference)))
        .collect();
    let all: Vec<String> = wanted.iter().flat_map(|(_, names)| names.clone()).collect();
    if all.is_empty() {
        return Ok(Bases::new());
    }
    let options = ListImagesOptionsBuilder::default()
        .filters(&HashMap::from([("reference".to_owned(), all)]))
        .build();
    let images = engine
        .docker()?
        .list_images(Some(options))
        .await
        .map_err(|error| engine.refused("list images", &error))?;
    Ok(wanted
        .into_iter()
        .filter_map(|(reference, names)| {
            let image = images.iter().find(|image| {
                let mut tags = image.repo_tags.iter().chain(&image.repo_digests);
                tags.any(|tag| names.contains(tag))
            })?;
            Some((reference.to_owned(), image.id.clone()))
        })
        .collect())
}

/// What the engine may call an image: short, and in full.
fn names(reference: &str) -> Vec<String> {
    let Ok(parsed) = reference.parse::<ImageReference>() else {
        return Vec::new();
    };
    let full = parsed.to_string();
    let mut names = vec![reference.to_owned(), full.clone()];
    if let Some(short) = full.strip_prefix("docker.io/") {
        names.push(short.to_owned());
        names.extend(short.strip_prefix("library/").map(str::to_owned));
    }
    if parsed.digest.is_none() && !reference.rsplit('/').next().unwrap_or_default().contains(':') {
        names.push(format!("{reference}:latest"));
    }
    names.sort();
    names.dedup();
    names
}

/// The first of those that were whose name means another image now. What was
/// not known counts only with `unknown`: if it is there now.
pub(super) fn moved(then: &Bases, now: &Bases, references: &[String], unknown: bool) -> Option<String> {
    references
        .iter()
        .find(|reference| match (then.get(*reference), now.get(*reference)) {
            (Some(then), Some(now)) => then != now,
            (None, Some(_)) => unknown,
            (_, None) => false,
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_another_image_has_moved() {
        let bases = |of: &[(&str, &str)]| -> Bases {
            of.iter()
                .map(|(name, id)| ((*name).to_owned(), (*id).to_owned()))
                .collect()
        };
        let all = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let then = bases(&[("a", "1"), ("b", "2")]);
        let moved = |now: &[(&str, &str)], unknown| moved(&then, &bases(now), &all, unknown);
        assert_eq!(moved(&[("a", "1"), ("b", "2")], true), None);
        assert_eq!(moved(&[("a", "1"), ("b", "3")], false).as_deref(), Some("b"));
        // One that is gone from the machine cannot be told.
        assert_eq!(moved(&[("a", "1")], true), None);
        assert_eq!(moved(&[("c", "9")], false), None);
        assert_eq!(moved(&[("c", "9")], true).as_deref(), Some("c"));
    }

    #[test]
    fn an_image_is_known_by_its_short_and_its_full_name() {
        assert!(names("python:3.13").contains(&"docker.io/library/python:3.13".to_owned()));
        assert!(names("busybox").contains(&"busybox:latest".to_owned()));
        assert!(names("docker.io/library/busybox:1").contains(&"busybox:1".to_owned()));
        assert!(names("127.0.0.1:5000/base:1").contains(&"127.0.0.1:5000/base:1".to_owned()));
    }
}

//! CycloneDX 1.5 as JSON (<https://cyclonedx.org/docs/1.5/json/>).

use serde_json::{Value, json};

use super::{Contents, Subject};

/// The document.
#[must_use]
pub fn document(contents: &Contents, subject: &Subject) -> Value {
    let components: Vec<Value> = contents
        .packages
        .iter()
        .enumerate()
        .map(|(index, package)| {
            let mut component = json!({
                "type": "library",
                "bom-ref": format!("package-{index}"),
                "name": package.name,
                "version": package.version,
                "purl": package.purl(contents.distribution.as_ref()),
                "properties": [{ "name": "nonna:found-in", "value": format!("/{}", package.found_in) }],
            });
            let license = match (package.spdx_license(), &package.license) {
                (Some(id), _) => Some(json!({ "id": id })),
                (None, Some(own)) => Some(json!({ "name": own })),
                (None, None) => None,
            };
            if let (Some(license), Some(component)) = (license, component.as_object_mut()) {
                component.insert("licenses".to_owned(), json!([{ "license": license }]));
            }
            component
        })
        .collect();
    let mut image = json!({
        "type": "container",
        "bom-ref": "image",
        "name": subject.name,
        "version": subject.version,
    });
    if let (Some(hex), Some(image)) = (subject.image.strip_prefix("sha256:"), image.as_object_mut()) {
        image.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": hex }]));
    }
    let mut properties: Vec<Value> = contents
        .gaps
        .iter()
        .map(|gap| json!({ "name": "nonna:gap", "value": gap }))
        .collect();
    if let Some(reference) = &subject.reference {
        properties.push(json!({ "name": "nonna:reference", "value": reference }));
    }
    let references: Vec<String> = (0..contents.packages.len())
        .map(|index| format!("package-{index}"))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", subject.uuid()),
        "version": 1,
        "metadata": {
            "timestamp": subject.time(),
            "tools": { "components": [{
                "type": "application",
                "name": "nonna",
                "version": env!("CARGO_PKG_VERSION"),
            }] },
            "component": image,
            "properties": properties,
        },
        "components": components,
        "dependencies": [{ "ref": "image", "dependsOn": references }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Package};
    use super::*;

    fn sample() -> (Contents, Subject) {
        let mut package = Package::new(Kind::Npm, "@a/b", "1", "app/node_modules/@a/b/package.json");
        package.license = Some("mit".into());
        let mut odd = Package::new(Kind::Pypi, "x", "2", "y");
        odd.license = Some("see the file".into());
        (
            Contents {
                distribution: Some(("debian".into(), "12".into())),
                packages: vec![package, odd],
                gaps: vec!["something".into()],
            },
            Subject {
                name: "shop/production/web".into(),
                version: "v7".into(),
                image: format!("sha256:{}", "ab".repeat(32)),
                reference: None,
                at: 1_700_000_000_123,
            },
        )
    }

    #[test]
    fn cyclonedx_has_what_its_schema_requires() {
        let (contents, subject) = sample();
        let document = document(&contents, &subject);
        assert_eq!(document["bomFormat"], "CycloneDX");
        assert_eq!(document["specVersion"], "1.5");
        assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(document["components"][0]["licenses"][0]["license"]["id"], "MIT");
        assert_eq!(
            document["components"][1]["licenses"][0]["license"]["name"],
            "see the file"
        );
        assert_eq!(
            document["dependencies"][0]["dependsOn"].as_array().unwrap().len(),
            2
        );
    }

    #[test]
    fn spdx_has_what_its_schema_requires() {
        let (contents, subject) = sample();
        let document = super::super::spdx(&contents, &subject);
        for key in [
            "spdxVersion",
            "dataLicense",
            "SPDXID",
            "name",
            "documentNamespace",
            "creationInfo",
        ] {
            assert!(!document[key].is_null(), "{key}");
        }
        assert_eq!(document["packages"].as_array().unwrap().len(), 3);
        assert_eq!(document["relationships"].as_array().unwrap().len(), 3);
        for package in document["packages"].as_array().unwrap() {
            assert_eq!(package["downloadLocation"], "NOASSERTION");
        }
        assert_eq!(document["packages"][1]["licenseDeclared"], "MIT");
        assert_eq!(document["packages"][2]["licenseDeclared"], "NOASSERTION");
        assert!(document["comment"].as_str().unwrap().contains("not whole"));
    }
}

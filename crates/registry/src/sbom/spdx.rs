//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>).

use serde_json::{Value, json};

use super::{Contents, Subject};

const NONE: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// The document.
#[must_use]
pub fn document(contents: &Contents, subject: &Subject) -> Value {
    let mut packages = vec![image(subject)];
    let mut relationships = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": IMAGE,
    })];
    for (index, package) in contents.packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{index}");
        let license = package.spdx_license();
        let mut entry = json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": NONE,
            "filesAnalyzed": false,
            "licenseConcluded": NONE,
            "licenseDeclared": license.unwrap_or(NONE),
            "copyrightText": NONE,
            "sourceInfo": format!("found in /{}", package.found_in),
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": package.purl(contents.distribution.as_ref()),
            }],
        });
        if license.is_none()
            && let Some(own) = &package.license
            && let Some(entry) = entry.as_object_mut()
        {
            entry.insert(
                "licenseComments".to_owned(),
                json!(format!("in its own words: {own}")),
            );
        }
        packages.push(entry);
        relationships.push(json!({
            "spdxElementId": IMAGE,
            "relationshipType": "CONTAINS",
            "relatedSpdxElement": id,
        }));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{} {}", subject.name, subject.version),
        "documentNamespace": format!("https://nonna.invalid/sbom/{}", subject.uuid()),
        "creationInfo": {
            "created": subject.time(),
            "creators": [concat!("Tool: nonna-", env!("CARGO_PKG_VERSION"))],
        },
        "documentDescribes": [IMAGE],
        "packages": packages,
        "relationships": relationships,
    });
    if !contents.gaps.is_empty()
        && let Some(document) = document.as_object_mut()
    {
        let comment = format!("This list is not whole: {}.", contents.gaps.join("; "));
        document.insert("comment".to_owned(), json!(comment));
    }
    document
}

fn image(subject: &Subject) -> Value {
    let mut checksums = Vec::new();
    if let Some(hex) = subject.image.strip_prefix("sha256:") {
        checksums.push(json!({ "algorithm": "SHA256", "checksumValue": hex }));
    }
    json!({
        "SPDXID": IMAGE,
        "name": subject.name,
        "versionInfo": subject.version,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": checksums,
        "sourceInfo": subject.reference.as_deref().map_or_else(
            || format!("the image {}", subject.image),
            |reference| format!("the image {} at {reference}", subject.image),
        ),
    })
}

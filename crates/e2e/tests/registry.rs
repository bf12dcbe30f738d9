//! Private images and registries, with a real registry: fetching, building on
//! them, pushing, signatures, lists of contents, the cache.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nonna_e2e::registry::{build_cache, forget_build_cache, own_image};
use nonna_e2e::{Installation, Ran, Registry, engine};

const HOST: &str = "shop.localhost";
/// With characters that two alphabets of base64 write differently.
const PASSWORD: &str = "s3cret>?~>?~>?~";

fn login(nonna: &Installation, registry: &Registry, password: &str) -> anyhow::Result<Ran> {
    let mut child = nonna
        .command(["registry", "login", &registry.host(), "--username", "alice"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().unwrap().write_all(password.as_bytes())?;
    Ok(Ran::from(child.wait_with_output()?))
}

fn unique(what: &str) -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    format!("{what}-{}-{nanos}", std::process::id())
}

fn image_manifest(reference: &str) -> String {
    format!("project = \"shop\"\n[services.web]\nimage = \"{reference}\"\nhealth = \"/health\"\n")
}

/// The image of the only container that an installation has.
fn running_image(nonna: &Installation) -> anyhow::Result<(String, String)> {
    let containers = engine::containers(nonna.id())?;
    let container = containers.first().expect("a container");
    Ok((
        container["Id"].as_str().unwrap().to_owned(),
        container["ImageID"].as_str().unwrap().to_owned(),
    ))
}

#[test]
fn a_private_image_is_fetched_with_stored_credentials_and_again_when_it_is_lost() -> anyhow::Result<()> {
    let mut registry = Registry::start("alice", PASSWORD)?;
    let nonna = Installation::start()?;
    let own = unique("nonna-e2e-private");
    own_image(&own, &own)?;
    let host = registry.host();
    registry.push(&own, "team/app", "v1")?;
    registry.push(&own, "team/other", "v1")?;
    engine::call("DELETE", &format!("/images/{own}"))?;

    // Without credentials it is refused, and it is said how to mend that.
    nonna.project(
        "shop",
        &[("nonna.toml", &image_manifest(&format!("{host}/team/app:v1")))],
    )?;
    let refused = nonna
        .nonna_in("shop", &["deploy"])?
        .failed_with("registry_auth")?;
    assert!(
        refused.stderr.contains(&format!("nonna registry login {host}")),
        "{refused:?}"
    );
    // So are wrong ones, and nothing is stored.
    let wrong = login(&nonna, &registry, "wrong")?.failed_with("registry_auth")?;
    assert!(wrong.stderr.contains("alice"), "{wrong:?}");
    let listed = nonna.nonna(["registry", "list", "--json"])?.ok()?.json()?;
    assert_eq!(listed, serde_json::json!([]));

    login(&nonna, &registry, PASSWORD)?.ok()?;
    let listed = nonna.nonna(["registry", "list", "--json"])?.ok()?;
    assert!(
        listed.stdout.contains(&host) && listed.stdout.contains("alice"),
        "{listed:?}"
    );
    assert!(!listed.stdout.contains(PASSWORD));
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    assert_eq!(nonna.get(HOST, "/health")?.status, 200);

    // A tag that is not there is told apart from one that one may not have.
    nonna.project(
        "shop",
        &[("nonna.toml", &image_manifest(&format!("{host}/team/app:v9")))],
    )?;
    nonna
        .nonna_in("shop", &["deploy"])?
        .failed_with("image_not_found")?;

    // The engine loses image and container: the service comes back by itself.
    let (container, image) = running_image(&nonna)?;
    engine::call("DELETE", &format!("/containers/{container}?force=true"))?;
    engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !nonna
        .get(HOST, "/health")
        .is_ok_and(|answer| answer.status == 200)
    {
        assert!(Instant::now() < deadline, "it did not come back: {}", nonna.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(running_image(&nonna)?.1, image);

    // A password that has expired: which registry, whose.
    registry.change_password("another")?;
    nonna.project(
        "shop",
        &[("nonna.toml", &image_manifest(&format!("{host}/team/other:v1")))],
    )?;
    let expired = nonna.nonna_in("shop", &["deploy"])?;
    // The image itself may still be known by its layers; the manifest is not.
    let expired = expired.failed_with("registry_auth")?;
    assert!(
        expired.stderr.contains("alice") && expired.stderr.contains(&host),
        "{expired:?}"
    );
    nonna.nonna(["registry", "logout", &host])?.ok()?;
    nonna
        .nonna(["registry", "logout", &host])?
        .failed_with("not_found")?;

    nonna.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
    engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    Ok(())
}

#[test]
fn a_build_stands_on_a_private_base_image() -> anyhow::Result<()> {
    let registry = Registry::start("alice", PASSWORD)?;
    let nonna = Installation::start()?;
    let own = unique("nonna-e2e-base");
    own_image(&own, &own)?;
    let base = format!("{}/team/base:v1", registry.host());
    registry.push(&own, "team/base", "v1")?;
    engine::call("DELETE", &format!("/images/{own}"))?;
    nonna.project(
        "shop",
        &[
            ("nonna.toml", "project = \"shop\"\n"),
            ("Dockerfile", &format!("FROM {base}\nLABEL a={own}\n")),
        ],
    )?;
    let refused = nonna
        .nonna_in("shop", &["deploy"])?
        .failed_with("registry_auth")?;
    assert!(
        refused
            .stderr
            .contains(&format!("nonna registry login {}", registry.host())),
        "{refused:?}"
    );
    login(&nonna, &registry, PASSWORD)?.ok()?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    assert_eq!(nonna.get(HOST, "/health")?.status, 200);
    let (_, image) = running_image(&nonna)?;
    nonna.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
    engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    Ok(())
}

/// A shop that is built and pushed; `marker` makes it this test's own.
fn pushed_shop(nonna: &Installation, registry: &Registry, marker: &str, extra: &str) -> anyhow::Result<()> {
    nonna.project(
        "shop",
        &[
            (
                "nonna.toml",
                &format!(
                    "project = \"shop\"\n[services.web]\npush = \"{}/team/web\"\nhealth = \"/health\"\n{extra}\n",
                    registry.host()
                ),
            ),
            (
                "Dockerfile",
                &format!(
                    "FROM nonna-test/app:v1\nRUN echo {marker} && head -c 16 /dev/urandom | od -An -tx1 > /random\nCOPY greeting /\n"
                ),
            ),
            ("greeting", marker),
        ],
    )?;
    Ok(())
}

#[test]
fn a_build_is_pushed_signed_described_and_started_from_the_registry() -> anyhow::Result<()> {
    let registry = Registry::start("alice", PASSWORD)?;
    let nonna = Installation::start()?;
    let marker = unique("pushed");

    // The push is part of the deployment: without credentials nothing changes.
    pushed_shop(&nonna, &registry, &marker, "")?;
    nonna
        .nonna_in("shop", &["deploy"])?
        .failed_with("registry_auth")?;
    assert_ne!(nonna.get(HOST, "/health")?.status, 200);
    // Where it is not required, the deployment goes on, and says so.
    pushed_shop(&nonna, &registry, &marker, "push_required = false")?;
    let went_on = nonna.nonna_in("shop", &["deploy"])?.ok()?;
    assert!(went_on.stderr.contains("goes on without it"), "{went_on:?}");
    let missing = nonna.nonna_in("shop", &["release", "verify"])?;
    missing.failed_with("not_found")?;

    login(&nonna, &registry, PASSWORD)?.ok()?;
    nonna.nonna_in("shop", &["release", "push"])?.ok()?;
    nonna.nonna_in("shop", &["release", "verify"])?.ok()?;
    pushed_shop(&nonna, &registry, &marker, "")?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let releases = nonna.nonna_in("shop", &["releases", "--json"])?.ok()?.json()?;
    let current = &releases[0];
    let reference = current["reference"].as_str().expect("a reference").to_owned();
    let digest = reference.split_once('@').expect("a digest").1.to_owned();
    let name = current["release"].as_str().unwrap().to_owned();

    // The registry has it: under its digest and a tag that names the release.
    registry.manifest("team/web", &digest)?;
    registry.manifest("team/web", "nonna-cache")?;
    let tags = registry.ask("GET", "/v2/team/web/tags/list", "", "")?;
    assert!(tags.body.contains(&format!("\"{name}-")), "{tags:?}");

    // The signature, checked by OpenSSL as cosign would.
    let key = nonna.nonna(["registry", "key"])?.ok()?.stdout;
    let signed = format!("{}.sig", digest.replace(':', "-"));
    let manifest = registry.manifest("team/web", &signed)?;
    let layer = &manifest["layers"][0];
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
        .as_str()
        .unwrap();
    let blob = layer["digest"].as_str().unwrap();
    let payload = registry
        .ask("GET", &format!("/v2/team/web/blobs/{blob}"), "", "")?
        .body;
    let said: serde_json::Value = serde_json::from_str(&payload)?;
    assert_eq!(
        said["critical"]["image"]["docker-manifest-digest"],
        digest.as_str()
    );
    assert_eq!(said["critical"]["type"], "cosign container image signature");
    assert!(openssl_verifies(&nonna, &key, &payload, signature)?);
    assert!(!openssl_verifies(
        &nonna,
        &key,
        &payload.replace("sha256:", "sha256:0"),
        signature
    )?);

    // What it is made of is attached to it.
    let list = registry.manifest("team/web", &digest.replace(':', "-"))?;
    assert_eq!(list["manifests"][0]["artifactType"], "application/spdx+json");
    let attached = registry.manifest("team/web", list["manifests"][0]["digest"].as_str().unwrap())?;
    assert_eq!(attached["subject"]["digest"], digest.as_str());

    // A signature that somebody changed is refused.
    let mut forged = manifest.clone();
    let broken = signature.replacen(
        &signature[10..14],
        if &signature[10..14] == "AAAA" {
            "BBBB"
        } else {
            "AAAA"
        },
        1,
    );
    forged["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"] = broken.into();
    let path = format!("/v2/team/web/manifests/{signed}");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    assert_eq!(registry.ask("PUT", &path, kind, &forged.to_string())?.status, 201);
    let refused = nonna
        .nonna_in("shop", &["release", "verify"])?
        .failed_with("signature_invalid")?;
    assert!(refused.stderr.contains("this installation's key"), "{refused:?}");
    assert_eq!(
        registry.ask("PUT", &path, kind, &manifest.to_string())?.status,
        201
    );
    nonna.nonna_in("shop", &["release", "verify"])?.ok()?;

    // The machine loses the image: an earlier release starts from the registry.
    let (_, image) = running_image(&nonna)?;
    let random = nonna
        .nonna_in("shop", &["exec", "web", "--", "cat", "/random"])?
        .ok()?
        .stdout;
    pushed_shop(&nonna, &registry, &unique("next"), "")?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let (_, next) = running_image(&nonna)?;
    assert_ne!(next, image);
    engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    let back = nonna.nonna_in("shop", &["rollback", &name])?.ok()?;
    assert!(back.stderr.contains("fetching it again"), "{back:?}");
    assert_eq!(running_image(&nonna)?.1, image);
    let again = nonna
        .nonna_in("shop", &["exec", "web", "--", "cat", "/random"])?
        .ok()?
        .stdout;
    assert_eq!(again, random);

    nonna.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
    for image in [image, next] {
        engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    }
    Ok(())
}

fn openssl_verifies(nonna: &Installation, key: &str, payload: &str, signature: &str) -> anyhow::Result<bool> {
    let file = |name: &str, bytes: &[u8]| -> anyhow::Result<std::path::PathBuf> {
        let path = nonna.folder().join(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    };
    let key = file("key.pem", key.as_bytes())?;
    let payload = file("payload", payload.as_bytes())?;
    let signature = file("signature", &data_encoding::BASE64.decode(signature.as_bytes())?)?;
    let status = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(key)
        .arg("-signature")
        .arg(signature)
        .arg(payload)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(status.success())
}

#[test]
fn a_new_machine_takes_the_cache_from_the_registry() -> anyhow::Result<()> {
    let registry = Registry::start("alice", PASSWORD)?;
    let marker = unique("cached");
    let random = {
        let first = Installation::start()?;
        login(&first, &registry, PASSWORD)?.ok()?;
        pushed_shop(&first, &registry, &marker, "")?;
        first.nonna_in("shop", &["deploy"])?.ok()?;
        let random = first
            .nonna_in("shop", &["exec", "web", "--", "cat", "/random"])?
            .ok()?
            .stdout;
        let (_, image) = running_image(&first)?;
        first.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
        engine::call("DELETE", &format!("/images/{image}?force=true"))?;
        random
    };
    assert!(
        forget_build_cache(&marker)? > 0,
        "the build left no cache to forget"
    );
    assert_eq!(build_cache(&marker)?, Vec::<String>::new());

    let second = Installation::start()?;
    login(&second, &registry, PASSWORD)?.ok()?;
    pushed_shop(&second, &registry, &marker, "")?;
    let built = second.nonna_in("shop", &["deploy"])?.ok()?;
    assert!(built.stderr.contains("(cached)"), "{built:?}");
    // It is the very layer of the first machine: the step did not run again.
    let again = second
        .nonna_in("shop", &["exec", "web", "--", "cat", "/random"])?
        .ok()?
        .stdout;
    assert_eq!(again, random);
    let (_, image) = running_image(&second)?;
    second.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
    engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    Ok(())
}

#[test]
fn a_release_tells_what_it_is_made_of() -> anyhow::Result<()> {
    let nonna = Installation::start()?;
    let marker = unique("made-of");
    nonna.project(
        "shop",
        &[
            ("nonna.toml", "project = \"shop\"\n[services.web]\nport = false\n"),
            (
                "Dockerfile",
                &format!("FROM debian:bookworm-slim\nLABEL a={marker}\nCOPY node_modules /app/node_modules\nCMD [\"sleep\", \"1000\"]\n"),
            ),
            (
                "node_modules/left-pad/package.json",
                "{\"name\": \"left-pad\", \"version\": \"1.3.0\", \"license\": \"WTFPL\"}",
            ),
        ],
    )?;
    nonna.nonna_in("shop", &["deploy"])?.ok()?;
    let spdx = nonna.nonna_in("shop", &["release", "sbom"])?.ok()?.json()?;
    assert_eq!(spdx["spdxVersion"], "SPDX-2.3");
    let urls: Vec<&str> = spdx["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str())
        .collect();
    for wanted in [
        "pkg:deb/debian/bash@",
        "pkg:deb/debian/dpkg@",
        "pkg:npm/left-pad@1.3.0",
    ] {
        assert!(
            urls.iter().any(|url| url.starts_with(wanted)),
            "{wanted}: {urls:?}"
        );
    }
    // As many as the package manager itself counts.
    let counted = nonna
        .nonna_in("shop", &["exec", "web", "--", "dpkg-query", "-W", "-f", "x"])?
        .ok()?
        .stdout
        .trim()
        .len();
    assert_eq!(
        urls.iter().filter(|url| url.starts_with("pkg:deb/")).count(),
        counted
    );
    let cyclonedx = nonna
        .nonna_in("shop", &["release", "sbom", "v1", "--format", "cyclonedx"])?
        .ok()?
        .json()?;
    assert_eq!(cyclonedx["specVersion"], "1.5");
    assert_eq!(cyclonedx["components"].as_array().unwrap().len(), urls.len());
    if let Some(folder) = std::env::var_os("NONNA_KEEP_SBOM") {
        // To be checked by other programs.
        std::fs::write(
            std::path::Path::new(&folder).join("sbom.spdx.json"),
            spdx.to_string(),
        )?;
        std::fs::write(
            std::path::Path::new(&folder).join("sbom.cdx.json"),
            cyclonedx.to_string(),
        )?;
    }
    nonna
        .nonna_in("shop", &["release", "sbom", "v9"])?
        .failed_with("not_found")?;
    let (_, image) = running_image(&nonna)?;
    nonna.nonna_in("shop", &["destroy", "--yes"])?.ok()?;
    engine::call("DELETE", &format!("/images/{image}?force=true"))?;
    Ok(())
}

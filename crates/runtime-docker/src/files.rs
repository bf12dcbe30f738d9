//! Small files of a release, put into a container before it is started.

use bollard::query_parameters::UploadToContainerOptions;
use nonna_engine::ports::runtime::Launch;
use nonna_engine::{Code, Error, Result};
use nonna_model::service::FileContent;
use secrecy::ExposeSecret;

use crate::client::Client;

/// Puts the release's files into a container that was made and not started.
pub(crate) async fn put(client: &Client, id: &str, launch: &Launch, what: &str) -> Result<()> {
    if launch.spec.files.is_empty() {
        return Ok(());
    }
    let archive = archive(launch)?;
    let options = UploadToContainerOptions {
        path: "/".into(),
        ..UploadToContainerOptions::default()
    };
    client
        .call(|docker| {
            let (options, archive) = (options.clone(), archive.clone());
            async move {
                docker
                    .upload_to_container(id, Some(options), bollard::body_full(archive.into()))
                    .await
            }
        })
        .await
        .map_err(|e| client.refused(what, &e))
}

/// The files as the engine's API takes them.
fn archive(launch: &Launch) -> Result<Vec<u8>> {
    let failed = |e: std::io::Error| Error::bug(format!("the files of a replica cannot be packed: {e}"));
    let mut archive = tar::Builder::new(Vec::new());
    for file in &launch.spec.files {
        let content = match &file.content {
            FileContent::Text { text } => text.as_str(),
            FileContent::Secret { name } => launch
                .secrets
                .get(name)
                .map(ExposeSecret::expose_secret)
                .ok_or_else(|| {
                    Error::user(
                        Code::MissingSecret,
                        format!(
                            "The secret {name}, which {} has as the file {}, is not set.",
                            launch.service_name, file.path
                        ),
                    )
                    .hint(format!("Set it: `nonna secret set {name}`."))
                })?,
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(file.mode);
        header.set_entry_type(tar::EntryType::Regular);
        archive
            .append_data(&mut header, file.path.trim_start_matches('/'), content.as_bytes())
            .map_err(failed)?;
    }
    archive.into_inner().map_err(failed)
}

//! Lines of JSON in the bodies of requests.

use async_trait::async_trait;
use reqwest::header;

use super::http::{HttpTarget, ask};
use super::{Destination, Failure, Parcel, Taken};
use crate::search::Entry;
use crate::wire::compress::gzip;

/// Whatever takes lines of JSON by POST. The first two fields of a record name
/// it: a record that comes twice can be told by them.
#[derive(Debug)]
pub struct JsonLines {
    target: HttpTarget,
    compress: bool,
}

impl JsonLines {
    /// At this target; with gzip, where that is wanted.
    #[must_use]
    pub fn new(target: HttpTarget, compress: bool) -> Self {
        Self { target, compress }
    }
}

/// Records as lines of JSON.
pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut text = String::new();
    for entry in entries {
        entry.json_into(&mut text);
        text.push('\n');
    }
    text.into_bytes()
}

#[async_trait]
impl Destination for JsonLines {
    fn kind(&self) -> &'static str {
        "http"
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure> {
        let body = encode(parcel.entries);
        let request = if self.compress {
            let body = gzip(&body).map_err(|error| Failure::unavailable(error.to_string()))?;
            self.target
                .post("application/x-ndjson", body)
                .header(header::CONTENT_ENCODING, "gzip")
        } else {
            self.target.post("application/x-ndjson", body)
        };
        ask(request.header("x-nonna-store", &**parcel.store)).await?;
        Ok(Taken::default())
    }
}

//! Objects in a bucket of S3, or of what speaks like it.

use std::path::Path;

use async_trait::async_trait;
use jiff::Timestamp;
use nonna_engine::{Code, Error, Result};
use reqwest::{Client, Method, Url};
use secrecy::ExposeSecret;

use super::http::{address, ask, client};
use super::sigv4::{Credentials, Signing, authorization, encode, hash};
use super::{Destination, Failure, Parcel, Taken, lines};
use crate::search::rfc3339;
use crate::wire::compress::gzip;

/// Which bucket, and where in it.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Where it is, if not with AWS.
    pub endpoint: Option<String>,
    /// What the objects' names begin with.
    pub prefix: String,
}

/// A bucket: every batch is an object of compressed lines of JSON, named by
/// time and by the numbers of its records, so that one that is sent twice is
/// there once.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    base: Url,
    /// The part of every path before the object's name.
    root: String,
    bucket: Bucket,
    credentials: Credentials,
}

impl S3 {
    /// A bucket.
    ///
    /// # Errors
    /// `InvalidInput` where name, region or address cannot be used.
    pub fn new(bucket: Bucket, credentials: Credentials, authorities: Option<&Path>) -> Result<Self> {
        let plain = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        };
        if !plain(&bucket.name) || !plain(&bucket.region) {
            return Err(Error::user(
                Code::InvalidInput,
                "A bucket's name and its region are made of letters, digits, `-`, `.` and `_`.",
            ));
        }
        let (base, root) = match &bucket.endpoint {
            Some(endpoint) => (address(endpoint)?, format!("/{}", bucket.name)),
            None => {
                let host = format!("https://{}.s3.{}.amazonaws.com", bucket.name, bucket.region);
                (address(&host)?, String::new())
            }
        };
        Ok(Self {
            client: client(authorities)?,
            base,
            root,
            bucket,
            credentials,
        })
    }

    /// The object of a parcel: below the hour of its first record.
    fn name(&self, parcel: Parcel<'_>) -> String {
        let (first, last) = match (parcel.entries.first(), parcel.entries.last()) {
            (Some(first), Some(last)) => (first, last),
            _ => return String::new(),
        };
        let mut time = String::new();
        rfc3339(&mut time, first.time);
        let hour = time.get(..13).unwrap_or_default().replace(['-', 'T'], "/");
        let prefix = self.bucket.prefix.trim_matches('/');
        let slash = if prefix.is_empty() { "" } else { "/" };
        format!(
            "{prefix}{slash}{hour}/{}-{:016}-{:016}.jsonl.gz",
            parcel.store, first.number, last.number
        )
    }
}

#[async_trait]
impl Destination for S3 {
    fn kind(&self) -> &'static str {
        "s3"
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<Taken, Failure> {
        let body = gzip(&lines::encode(parcel.entries)).map_err(|e| Failure::unavailable(e.to_string()))?;
        let path = encode(&format!("{}/{}", self.root, self.name(parcel)));
        let mut url = self.base.clone();
        url.set_path(&path);
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let body_hash = hash(&body);
        let token = self
            .credentials
            .session_token
            .as_ref()
            .map(ExposeSecret::expose_secret);
        let mut headers = vec![
            ("host", host.as_str()),
            ("x-amz-content-sha256", &body_hash),
            ("x-amz-date", &time),
        ];
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        let signed = authorization(
            &Signing {
                method: "PUT",
                path: &path,
                headers: &headers,
                body_hash: &body_hash,
                region: &self.bucket.region,
                time: &time,
            },
            &self.credentials,
        );
        let mut request = self
            .client
            .request(Method::PUT, url)
            .header("authorization", signed)
            .header("content-type", "application/gzip");
        for (name, value) in &headers {
            if *name != "host" {
                request = request.header(*name, *value);
            }
        }
        match ask(request.body(body)).await {
            Ok(_) => Ok(Taken::default()),
            // No record makes S3 refuse an object: something else is wrong.
            Err(Failure::Refused { why }) => Err(Failure::unavailable(why)),
            Err(failure) => Err(failure),
        }
    }
}

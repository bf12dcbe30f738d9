//! Every destination passes the suite, against a receiver that fails on
//! purpose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use nonna_logs::forward::{
    Auth, Bucket, Credentials, Destination, Elasticsearch, HttpTarget, JsonLines, Loki, Otlp, S3, Syslog,
    SyslogTarget,
};
use nonna_testkit::logs::suite::{Fixture, SECRET};
use nonna_testkit::logs::{FakeDestination, HttpReceiver, Speaks, SyslogReceiver};

async fn over_http(
    speaks: Speaks,
    path: &str,
    make: impl FnOnce(HttpTarget) -> Box<dyn Destination>,
) -> Fixture {
    let receiver = HttpReceiver::start(speaks).await.unwrap();
    let auth = Auth::Bearer(SECRET.into());
    let target = HttpTarget::new(&receiver.url(), path, auth, &[], None).unwrap();
    Fixture {
        destination: make(target),
        receiver: Arc::new(receiver),
    }
}

mod fake {
    use super::*;
    async fn fixture() -> Fixture {
        let fake = FakeDestination::new();
        Fixture {
            destination: Box::new(fake.clone()),
            receiver: Arc::new(fake),
        }
    }
    nonna_testkit::destination_suite!(fixture());
}

mod loki {
    use super::*;
    async fn fixture() -> Fixture {
        let labels = BTreeMap::from([("cluster".to_owned(), "a \"b\"".to_owned())]);
        over_http(Speaks::Loki, Loki::PATH, |target| {
            Box::new(Loki::new(target, labels))
        })
        .await
    }
    nonna_testkit::destination_suite!(fixture());
}

mod elasticsearch {
    use super::*;
    async fn fixture() -> Fixture {
        over_http(Speaks::Elasticsearch, Elasticsearch::PATH, |target| {
            Box::new(Elasticsearch::new(target, "logs-{date}"))
        })
        .await
    }
    nonna_testkit::destination_suite!(fixture());
}

mod otlp {
    use super::*;
    async fn fixture() -> Fixture {
        over_http(Speaks::Otlp, Otlp::PATH, |target| Box::new(Otlp::new(target))).await
    }
    nonna_testkit::destination_suite!(fixture());
}

mod lines {
    use super::*;
    async fn fixture() -> Fixture {
        over_http(Speaks::Lines, "/", |target| {
            Box::new(JsonLines::new(target, true))
        })
        .await
    }
    nonna_testkit::destination_suite!(fixture());
}

mod s3 {
    use super::*;
    async fn fixture() -> Fixture {
        let receiver = HttpReceiver::start(Speaks::S3).await.unwrap();
        let bucket = Bucket {
            name: "logs".to_owned(),
            region: "eu-south-1".to_owned(),
            endpoint: Some(receiver.url()),
            prefix: "a b".to_owned(),
        };
        let credentials = Credentials {
            access_key: "AKIATEST".to_owned(),
            secret_key: SECRET.into(),
            session_token: Some(SECRET.into()),
        };
        Fixture {
            destination: Box::new(S3::new(bucket, credentials, None).unwrap()),
            receiver: Arc::new(receiver),
        }
    }
    nonna_testkit::destination_suite!(fixture());
}

mod syslog {
    use super::*;
    async fn fixture() -> Fixture {
        let receiver = SyslogReceiver::start().await.unwrap();
        let target = SyslogTarget {
            host: receiver.address().ip().to_string(),
            port: receiver.address().port(),
            tls: false,
            authorities: None,
        };
        Fixture {
            destination: Box::new(Syslog::new(target).unwrap()),
            receiver: Arc::new(receiver),
        }
    }
    nonna_testkit::destination_suite!(fixture());
}

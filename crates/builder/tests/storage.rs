//! What builds leave at a real container engine: the suite that every storage
//! passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    dead_code,
    reason = "a test that cannot go on has failed, and says where"
)]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nonna_engine::ports::BuildStorage;
use nonna_model::ServiceId;
use nonna_testkit::builds::suite::{Fixture, Made, Workshop};
use support::{Bench, hold, let_go};

struct AtTheEngine {
    bench: Bench,
    /// What tells the fixture's commands from those of other tests.
    marker: String,
    held: Mutex<HashMap<String, String>>,
}

impl AtTheEngine {
    fn new(marker: &str) -> Self {
        Self {
            marker: marker.to_owned(),
            bench: Bench::of(&format!("ins-{}", ServiceId::generate())),
            held: Mutex::default(),
        }
    }
}

#[async_trait]
impl Workshop for AtTheEngine {
    fn storage(&self) -> Arc<dyn BuildStorage> {
        Arc::new(self.bench.builder.storage())
    }

    async fn build(&self, service: &ServiceId, text: &str) -> Made {
        let text = format!("{text} of {service}\n");
        let step = format!(
            "RUN --mount=type=cache,target=/kept cat /text >> /kept/{}",
            self.marker
        );
        let dockerfile = format!("FROM busybox:latest\nCOPY text /text\n{step}\n");
        let mut request = self
            .bench
            .request(&[("Dockerfile", &dockerfile), ("text", &text)]);
        request.service = service.clone();
        let built = self.bench.go(&request).await.unwrap();
        Made {
            image: built.image,
            context: request.source.context,
        }
    }

    async fn hold(&self, image: &str, held: bool) {
        if held {
            let container = hold(image).await;
            self.held.lock().unwrap().insert(image.to_owned(), container);
        } else {
            let container = self.held.lock().unwrap().remove(image).unwrap();
            let_go(&container).await;
        }
    }
}

async fn fixture() -> Fixture {
    let marker = ServiceId::generate().to_string();
    Fixture {
        ours: Arc::new(AtTheEngine::new(&marker)),
        theirs: Arc::new(AtTheEngine::new(&marker)),
    }
}

nonna_testkit::storage_suite!(fixture());

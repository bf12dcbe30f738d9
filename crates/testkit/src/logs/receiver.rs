//! What receivers have in common.

use nonna_logs::protocol::{Collector, Names};
use nonna_logs::{Batch, Level};

/// How a receiver behaves from now on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// It takes what comes.
    #[default]
    Takes,
    /// It is busy, and may say for how many seconds.
    Busy(Option<u64>),
    /// It closes connections without a word.
    Cuts,
    /// It does not let anybody in.
    Forbids,
    /// It takes no line that holds this, and whatever comes with it as its
    /// protocol has it.
    Refuses(&'static str),
    /// It takes so many records at once at most.
    TakesAtMost(usize),
}

/// A record as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Its service.
    pub service: String,
    /// Its replica, where the protocol has a place for it.
    pub replica: String,
    /// When, in nanoseconds.
    pub time: i64,
    /// How serious.
    pub level: Level,
    /// The line.
    pub line: String,
    /// What came beside it.
    pub fields: Vec<(String, String)>,
}

/// Something that receives records, and fails on purpose.
pub trait Receiver: Send + Sync {
    /// What it took.
    fn got(&self) -> Vec<Got>;
    /// How it behaves from now on.
    fn behave(&self, behaviour: Behaviour);
    /// Whether it answers: whether it can say no, and for how long.
    fn answers(&self) -> bool;
    /// Whether a record that comes twice is there once.
    fn knows_twice(&self) -> bool;
    /// Whether one record makes it refuse a whole parcel, or only itself.
    fn can_refuse(&self) -> bool;
}

pub(super) fn collector() -> Collector {
    Collector::new(Names::new(1000), "nobody", "")
}

/// The records of a collector.
pub(super) fn records(collector: &mut Collector) -> Vec<Got> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let batches = collector.take();
    let records = batches.iter().flat_map(Batch::iter).map(|record| {
        let fields: Vec<(String, String)> = record.fields.map(|(n, v)| (text(n), text(v))).collect();
        // Where a protocol has no place for it, it is a field.
        let beside = fields.iter().find(|(name, _)| name == "replica");
        let replica = match (&*record.source.replica, beside) {
            ("", Some((_, replica))) => replica.clone(),
            (replica, _) => replica.to_owned(),
        };
        Got {
            service: record.source.service.to_string(),
            replica,
            time: record.time.unwrap_or_default(),
            level: record.level,
            line: text(record.line),
            fields,
        }
    });
    records.collect()
}

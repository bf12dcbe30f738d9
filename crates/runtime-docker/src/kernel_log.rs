//! What the kernel of this machine says of processes it killed for memory:
//! engines do not always pass it on.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

/// The kernel never writes a longer record.
const RECORD_MAX: usize = 8 * 1024;
/// No log holds more records than this.
const RECORDS_MAX: usize = 100_000;

/// Whether the kernel killed a process of this container for the memory it
/// used. `false` too where the log cannot be read.
pub(crate) fn killed_for_memory(container: &str) -> bool {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg");
    let Ok(mut log) = opened else {
        return false;
    };
    let mut record = vec![0; RECORD_MAX];
    for _ in 0..RECORDS_MAX {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(length) if tells_of(&record[..length], container) => return true,
            Ok(_) => {}
            // A record was overwritten before it was read: go on behind it.
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::Interrupted) => {}
            // The end.
            Err(_) => return false,
        }
    }
    false
}

fn tells_of(record: &[u8], container: &str) -> bool {
    let text = String::from_utf8_lossy(record);
    let group = text.split_once("task_memcg=").map(|(_, rest)| rest);
    text.contains("oom-kill:") && group.is_some_and(|group| group.contains(container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kill_in_the_containers_own_group_counts() {
        let record = b"6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,cpuset=x,oom_memcg=/docker/aaa,\
            task_memcg=/docker/bbb,task=app,pid=1,uid=0\n";
        assert!(tells_of(record, "bbb"));
        assert!(!tells_of(record, "aaa"));
        assert!(!tells_of(b"6,1,2,-;eth0: up", "bbb"));
    }
}

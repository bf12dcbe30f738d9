//! Whether the clock is right: certificates and tokens depend on it.

use nonna_api::Finding;

use super::{ok, warning};

const CHECK: &str = "clock";
const HINT: &str =
    "Turn time synchronisation on: `timedatectl set-ntp true`, or install `systemd-timesyncd` or `chrony`.";

/// What time daemons leave behind when they have synchronised the clock.
const MARKS: [&str; 2] = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid"];

/// When this version was made, at the earliest: seconds since 1970, UTC.
const MADE: i64 = 1_735_689_600;

pub(super) fn synchronised() -> Finding {
    let now = jiff::Timestamp::now();
    if now.as_second() < MADE {
        return super::failed(
            CHECK,
            format!("It says {now}, which is before this program was made."),
            HINT,
        );
    }
    let is_synchronised = MARKS.iter().any(|mark| std::path::Path::new(mark).exists());
    if is_synchronised {
        ok(CHECK, format!("It says {now} and is synchronised."))
    } else {
        warning(
            CHECK,
            format!("It says {now}; nothing on this machine keeps it right, as far as can be seen."),
            HINT,
        )
    }
}

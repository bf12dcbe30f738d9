//! Pieces of two streams, joined to lines, and where to begin again so that
//! none is lost and none comes twice.

use memchr::memchr;
use serde::{Deserialize, Serialize};

use super::Lines;
use crate::record::MAX_RECORD_BYTES;

/// What stands at the end of a line that is cut because it never seems to end.
const CUT: &[u8] = "… [cut: the line is longer]".as_bytes();
/// What stands at the end of a line whose rest was dropped.
const END_LOST: &[u8] = "… [the rest was dropped]".as_bytes();
/// What stands at the start of a line whose beginning was dropped.
const START_LOST: &[u8] = "[the beginning was dropped] …".as_bytes();

/// Where a piece begins: a file, by whatever number tells it from others, and
/// a byte of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) file: u64,
    pub(super) at: u64,
}

/// How far a stream's line has come at a position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Begun {
    /// A new one begins.
    #[default]
    Not,
    /// It has begun in the piece at this place, so many bytes into it.
    At(Place, u32),
    /// It was cut; what comes up to its end is left out.
    Cut,
}

/// Where reading begins again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The next piece; `None`: the oldest there is.
    pub(super) next: Option<Place>,
    /// The lines that have begun on standard output and on standard error.
    pub(super) begun: [Begun; 2],
}

impl Position {
    /// The place to read from: where the oldest line that has begun begins.
    /// Both are in the order of reading only if they are in one file; `earlier`
    /// tells which file comes before another.
    pub(super) fn start(&self, earlier: impl Fn(u64, u64) -> bool) -> Option<Place> {
        let mut start = self.next?;
        for begun in self.begun {
            if let Begun::At(place, _) = begun
                && (earlier(place.file, start.file) || place.file == start.file && place.at < start.at)
            {
                start = place;
            }
        }
        Some(start)
    }

    /// The same without what has begun: for where that is not there any more.
    pub(super) fn without_begun(mut self) -> Self {
        for begun in &mut self.begun {
            if matches!(begun, Begun::At(..)) {
                *begun = Begun::Not;
            }
        }
        self
    }
}

#[derive(Debug, Default)]
struct Line {
    begun: Begun,
    time: Option<i64>,
    bytes: Vec<u8>,
}

/// Joins pieces. It holds one line of each stream: at most
/// [`MAX_RECORD_BYTES`].
#[derive(Debug, Default)]
pub(super) struct Joiner {
    streams: [Line; 2],
    /// Pieces before `Position::next` are only for lines that have begun.
    again: Option<Again>,
}

#[derive(Debug)]
struct Again {
    until: Place,
    begun: [Begun; 2],
    reached: [bool; 2],
}

impl Joiner {
    /// To begin where [`Position::start`] says.
    pub(super) fn resume(position: &Position) -> Self {
        let mut joiner = Self::default();
        let mut again = false;
        for (line, begun) in joiner.streams.iter_mut().zip(position.begun) {
            match begun {
                Begun::At(..) => again = true,
                known => line.begun = known,
            }
        }
        if let (true, Some(until)) = (again, position.next) {
            joiner.again = Some(Again {
                until,
                begun: position.begun,
                reached: [false; 2],
            });
        }
        joiner
    }

    /// Where the lines that have begun begin.
    pub(super) fn begun(&self) -> [Begun; 2] {
        if let Some(again) = &self.again {
            return again.begun;
        }
        [self.streams[0].begun, self.streams[1].begun]
    }

    /// Takes a piece that begins at this place, printed at this time.
    pub(super) fn take(
        &mut self,
        lines: &mut Lines,
        stderr: bool,
        time: Option<i64>,
        piece: &[u8],
        place: Place,
    ) {
        let skip = match self.skip(stderr, place) {
            Some(skip) => skip as usize,
            None => return,
        };
        let line = &mut self.streams[usize::from(stderr)];
        let mut at = skip;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            let end = memchr(b'\n', rest);
            let part = &rest[..end.unwrap_or(rest.len())];
            match (end, line.begun) {
                // The common case: a whole line, not copied.
                (Some(_), Begun::Not) => lines.push(stderr, time, part),
                (Some(_), Begun::At(..)) => {
                    line.extend(part);
                    lines.push(stderr, line.time, &line.bytes);
                    line.end();
                }
                (Some(_), Begun::Cut) => line.end(),
                (None, Begun::Not) => {
                    line.begun = Begun::At(place, u32::try_from(at).unwrap_or(u32::MAX));
                    line.time = time;
                    line.extend(part);
                }
                (None, Begun::At(..)) => line.extend(part),
                (None, Begun::Cut) => {}
            }
            if end.is_none() && line.bytes.len() > MAX_RECORD_BYTES {
                line.bytes.truncate(MAX_RECORD_BYTES - CUT.len());
                line.bytes.extend_from_slice(CUT);
                lines.push(stderr, line.time, &line.bytes);
                line.end();
                line.begun = Begun::Cut;
            }
            at += part.len() + 1;
        }
    }

    /// How much of the piece at this place is known; `None`: all of it.
    fn skip(&mut self, stderr: bool, place: Place) -> Option<u32> {
        let Some(again) = &mut self.again else {
            return Some(0);
        };
        let stream = usize::from(stderr);
        let Begun::At(from, skip) = again.begun[stream] else {
            return None;
        };
        if again.reached[stream] {
            return Some(0);
        }
        again.reached[stream] = from == place;
        again.reached[stream].then_some(skip)
    }

    /// Whether what was read until now was read before.
    pub(super) fn is_behind(&self) -> bool {
        self.again.is_some()
    }

    /// What comes next stands at this place. Where it was not read before,
    /// nothing more is left out. To be said behind every piece: the next may be
    /// in another file.
    pub(super) fn catch_up(&mut self, place: Place) {
        if self.again.as_ref().is_some_and(|again| again.until == place) {
            self.again = None;
        }
    }

    /// Output was dropped here. `whole`: it ended with the end of a line.
    pub(super) fn gap(&mut self, lines: &mut Lines, stderr: bool, whole: bool, place: Place) {
        if self.again.is_some() {
            return;
        }
        let line = &mut self.streams[usize::from(stderr)];
        if matches!(line.begun, Begun::At(..)) {
            line.bytes.extend_from_slice(END_LOST);
            lines.push(stderr, line.time, &line.bytes);
        }
        line.end();
        if !whole {
            line.begun = Begun::At(place, 0);
            line.bytes.extend_from_slice(START_LOST);
        }
    }

    /// The stream has ended: what has begun is a line.
    pub(super) fn end(&mut self, lines: &mut Lines, stderr: bool) {
        if self.again.is_some() {
            return;
        }
        let line = &mut self.streams[usize::from(stderr)];
        if matches!(line.begun, Begun::At(..)) {
            lines.push(stderr, line.time, &line.bytes);
        }
        line.end();
    }
}

impl Line {
    fn extend(&mut self, part: &[u8]) {
        // One byte more than is kept tells that there was more.
        let room = (MAX_RECORD_BYTES + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn end(&mut self) {
        self.begun = Begun::Not;
        self.bytes.clear();
        self.bytes.shrink_to(16 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::Container;

    fn lines() -> Lines {
        Lines::new(&Container {
            id: "c".into(),
            service: "a/b/c".into(),
            replica: "v1.0".into(),
        })
    }

    fn texts(lines: &Lines) -> Vec<(bool, Vec<u8>)> {
        lines
            .batch()
            .iter()
            .map(|record| (record.source.stream.name() == "stderr", record.line.to_vec()))
            .collect()
    }

    fn place(at: usize) -> Place {
        Place {
            file: 7,
            at: at as u64,
        }
    }

    /// Reads pieces from a position, up to one; answers the lines and the
    /// position behind.
    fn read(
        pieces: &[(bool, Vec<u8>)],
        position: Position,
        until: usize,
    ) -> (Vec<(bool, Vec<u8>)>, Position) {
        let mut joiner = Joiner::resume(&position);
        let mut lines = lines();
        let start = position.start(|_, _| false).map_or(0, |place| place.at as usize);
        for (at, (stderr, piece)) in pieces.iter().enumerate().take(until).skip(start) {
            joiner.take(&mut lines, *stderr, None, piece, place(at));
            joiner.catch_up(place(at + 1));
        }
        let position = Position {
            next: Some(place(until)),
            begun: joiner.begun(),
        };
        (texts(&lines), position)
    }

    proptest! {
        #[test]
        fn wherever_it_is_cut_it_goes_on_there(
            pieces in proptest::collection::vec((any::<bool>(), "[ab\n]{1,6}"), 1..30),
            cuts in proptest::collection::vec(0_usize..30, 0..6),
        ) {
            let pieces: Vec<_> = pieces.into_iter().map(|(e, text)| (e, text.into_bytes())).collect();
            let (whole, _) = read(&pieces, Position::default(), pieces.len());
            let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= pieces.len()).collect();
            cuts.push(pieces.len());
            cuts.sort_unstable();
            let mut position = Position::default();
            let mut seen = Vec::new();
            for cut in cuts {
                let (lines, next) = read(&pieces, position, cut);
                seen.extend(lines);
                position = next;
            }
            prop_assert_eq!(&seen, &whole);
            for stderr in [false, true] {
                let text: Vec<u8> = pieces.iter().filter(|p| p.0 == stderr).flat_map(|p| p.1.clone()).collect();
                let mut want: Vec<_> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                want.pop();
                let got: Vec<_> = whole.iter().filter(|l| l.0 == stderr).map(|l| l.1.clone()).collect();
                prop_assert_eq!(got, want);
            }
        }
    }

    #[test]
    fn a_line_that_never_ends_is_cut_with_a_mark_and_the_next_is_whole() {
        let mut joiner = Joiner::default();
        let mut lines = lines();
        let piece = vec![b'x'; 16 * 1024];
        for at in 0..100 {
            joiner.take(&mut lines, false, None, &piece, place(at));
            assert!(joiner.streams[0].bytes.len() <= MAX_RECORD_BYTES + 1);
        }
        assert_eq!(joiner.begun()[0], Begun::Cut);
        joiner.take(&mut lines, false, None, b"x\nnext\n", place(100));
        let texts = texts(&lines);
        assert_eq!(texts.len(), 2);
        assert_eq!(texts[0].1.len(), MAX_RECORD_BYTES);
        assert!(texts[0].1.ends_with(CUT));
        assert_eq!(texts[1].1, b"next");
    }

    #[test]
    fn what_was_dropped_leaves_marks_and_joins_nothing() {
        let mut joiner = Joiner::default();
        let mut lines = lines();
        joiner.take(&mut lines, false, None, b"one\ntw", place(0));
        joiner.gap(&mut lines, false, false, place(1));
        joiner.take(&mut lines, false, None, b"ee\nfour\n", place(2));
        joiner.gap(&mut lines, false, true, place(3));
        joiner.take(&mut lines, false, None, b"five\n", place(4));
        let texts: Vec<_> = texts(&lines)
            .into_iter()
            .map(|(_, text)| String::from_utf8(text).unwrap())
            .collect();
        assert_eq!(
            texts,
            [
                "one",
                "tw… [the rest was dropped]",
                "[the beginning was dropped] …ee",
                "four",
                "five"
            ]
        );
    }
}

//! Compressing a segment anew: harder, in larger blocks, without what was
//! forgotten.

use std::io;
use std::sync::Arc;

use super::Core;
use crate::frame::Frame;
use crate::record::{Batch, RecordView, Source, SourceIndex, Stream};
use crate::search::is_forgotten;
use crate::segment::block::BlockBuilder;
use crate::segment::data::{BlockData, Opener};
use crate::segment::file::Segment;

/// zstd's level, and its window as a power of two. Beyond this level each byte
/// costs several times the time.
const SETTLED: (i32, u32) = (15, 21);
/// Blocks are made of about so many bytes of lines.
const SETTLED_BYTES: usize = 2 * 1024 * 1024;

/// Makes a segment anew and puts it into the old one's place. A block that
/// cannot be read is left out, and with it its numbers.
pub(super) fn settle(core: &Core, old: &Arc<Segment>) -> io::Result<()> {
    let other = |error: nonna_engine::Error| io::Error::other(error.to_string());
    let part = old.path.with_extension("part");
    let new = Segment::create(&part)?;
    let mut builder = BlockBuilder::new(SETTLED.0, SETTLED.1, true).map_err(other)?;
    let mut opener = Opener::new()?;
    let (mut body, mut data, mut bytes) = (Vec::new(), BlockData::default(), Vec::new());
    let forgotten = Arc::clone(&core.state().forgotten);
    let nobody = Source::new("", "", Stream::Proxy);
    let mut line = Vec::new();
    let mut expected = None;
    let finish = |builder: &mut BlockBuilder, bytes: &mut Vec<u8>| {
        bytes.clear();
        let header = builder.finish(bytes).map_err(other)?;
        new.append(bytes, vec![header])
    };
    for block in old.blocks() {
        let gap = expected.is_some_and(|expected| expected != block.header.first);
        if builder.len() > 0 && (gap || builder.bytes() >= SETTLED_BYTES) {
            finish(&mut builder, &mut bytes)?;
        }
        if old.read(&block, &mut opener, &mut body, &mut data).is_none() {
            tracing::warn!(path = %old.path.display(), offset = block.offset, "a block of logs is damaged and lost");
            if builder.len() > 0 {
                finish(&mut builder, &mut bytes)?;
            }
            expected = None;
            continue;
        }
        expected = Some(block.header.end());
        let mut batch = Batch::new();
        for record in 0..data.places.len() {
            line.clear();
            data.line(record, &mut line);
            let place = data.places[record];
            let Some(source) = data.source(record) else {
                continue;
            };
            let number = block.header.first + record as u64;
            let gone = is_forgotten(&forgotten, number, source);
            let view = RecordView {
                source: if gone { &nobody } else { source },
                source_index: SourceIndex::FIRST,
                time: Some(place.time),
                level: place.level,
                line: if gone { b"" } else { &line },
                fields: if gone {
                    crate::record::Fields::default()
                } else {
                    data.fields(record)
                },
                start: 0,
            };
            let index = batch.source(view.source);
            batch.push_view(index, &view);
        }
        let frame = Frame {
            first: block.header.first,
            received: block.header.received,
            batch,
            marks: Vec::new(),
        };
        if builder.len() > 0 && !builder.has_room_for(frame.batch.sources().len()) {
            finish(&mut builder, &mut bytes)?;
        }
        builder.add(&frame);
    }
    if builder.len() > 0 {
        finish(&mut builder, &mut bytes)?;
    }
    new.sync()?;
    std::fs::rename(&part, &old.path)?;
    let new = Arc::new(new.renamed(&old.path));
    let mut state = core.state();
    if let Some(place) = state.segments.iter_mut().find(|one| Arc::ptr_eq(one, old)) {
        *place = new;
    }
    Ok(())
}

use super::*;

fn file(path: &str, content: &str) -> ContextEntry {
    ContextEntry {
        path: path.into(),
        kind: EntryKind::File {
            size: content.len() as u64,
            sha256: HEXLOWER.encode(&Sha256::digest(content)),
            executable: false,
        },
    }
}

fn link(path: &str, target: &str) -> ContextEntry {
    ContextEntry {
        path: path.into(),
        kind: EntryKind::Symlink {
            target: target.into(),
        },
    }
}

fn folder(path: &str) -> ContextEntry {
    ContextEntry {
        path: path.into(),
        kind: EntryKind::Directory,
    }
}

fn verdict(entries: Vec<ContextEntry>) -> Result<(), Reason> {
    ContextManifest::new(entries)
        .validate(&ContextLimits::default())
        .map_err(|e| e.reason)
}

#[test]
fn the_digest_is_the_one_that_was_agreed() {
    // Stored releases name contexts by it: it may never change.
    let manifest = ContextManifest::new(vec![file("b", "two"), link("a/l", "../b"), folder("c")]);
    assert_eq!(
        manifest.digest(),
        "sha256:4ee2f9643777ee5d910d53c154425b4519a3d036346fde8e9955341ce03507a4"
    );
}

#[test]
fn the_digest_sees_every_difference_and_not_the_order() {
    let base = vec![file("a", "1"), file("b", "2"), link("l", "a"), folder("d")];
    let digest = |entries: Vec<ContextEntry>| ContextManifest::new(entries).digest();
    let mut turned = base.clone();
    turned.reverse();
    assert_eq!(digest(base.clone()), digest(turned));

    let mut seen = vec![digest(base.clone())];
    for change in 0..5 {
        let mut other = base.clone();
        match change {
            0 => other[0] = file("a", "x"),
            1 => other[0] = file("aa", "1"),
            2 => {
                if let EntryKind::File { executable, .. } = &mut other[0].kind {
                    *executable = true;
                }
            }
            3 => other[2] = link("l", "b"),
            _ => other[3] = file("d", ""),
        }
        let digest = digest(other);
        assert!(!seen.contains(&digest), "change {change} was not seen");
        seen.push(digest);
    }
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    for (path, reason) in [
        ("", Reason::EmptyPath),
        ("/etc/passwd", Reason::Absolute),
        ("..", Reason::Climbs),
        ("a/../../b", Reason::Climbs),
        ("a//b", Reason::NotNormal),
        ("a/", Reason::NotNormal),
        ("./a", Reason::NotNormal),
        ("a\0b", Reason::Control),
        ("a\nb", Reason::Control),
        ("a\u{9b}b", Reason::Control),
    ] {
        assert_eq!(verdict(vec![file(path, "")]), Err(reason), "{path:?}");
    }
    assert_eq!(
        verdict(vec![file(&"a".repeat(256), "")]),
        Err(Reason::NameTooLong)
    );
    assert_eq!(verdict(vec![file(&"a".repeat(255), "")]), Ok(()));
    assert_eq!(
        verdict(vec![file(&"a/".repeat(2100), "")]),
        Err(Reason::PathTooLong)
    );
    // What only looks like it is fine.
    assert_eq!(verdict(vec![file("..a/b..", ""), file("a b/$(rm)", "")]), Ok(()));
}

#[test]
fn entries_that_contradict_each_other_are_refused() {
    assert_eq!(
        verdict(vec![file("a", "1"), file("a", "2")]),
        Err(Reason::Duplicate)
    );
    assert_eq!(
        verdict(vec![file("a", ""), file("a.b", ""), file("a/c", "")]),
        Err(Reason::BelowFile { parent: "a".into() })
    );
    assert_eq!(
        verdict(vec![link("a", "b"), file("a/x/y", ""), folder("b")]),
        Err(Reason::BelowFile { parent: "a".into() })
    );
    assert_eq!(verdict(vec![folder("a"), file("a/b", "")]), Err(Reason::NotEmpty));
    let unsorted = ContextManifest {
        entries: vec![file("b", ""), file("a", "")],
    };
    let error = unsorted.validate(&ContextLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "the build context is not sorted by path: `a`");
    let mut conflict = file("b", "1");
    if let EntryKind::File { size, .. } = &mut conflict.kind {
        *size = 9;
    }
    assert_eq!(verdict(vec![file("a", "1"), conflict]), Err(Reason::SizeConflict));
}

#[test]
fn links_are_followed_before_they_are_believed() {
    let out = |target: &str| {
        Err(Reason::LinkLeadsOut {
            target: target.into(),
        })
    };
    for target in ["/etc/passwd", "..", "../x", "a/../../x", "b/../.."] {
        assert_eq!(verdict(vec![link("l", target)]), out(target), "{target}");
    }
    for target in ["a", "./a", "a/../b", "missing", "x/.."] {
        assert_eq!(verdict(vec![link("l", target)]), Ok(()), "{target}");
    }
    assert_eq!(verdict(vec![link("d/l", "../a")]), Ok(()));
    // `d/e/up` is the folder itself, so `up/..` leaves it, though the texts
    // alone say `d/e`.
    assert_eq!(
        verdict(vec![link("d/e/up", "../.."), link("d/e/sly", "up/..")]),
        out("up/..")
    );
    assert_eq!(
        verdict(vec![link("a", "b"), link("b", "a")]),
        Err(Reason::LinkLoop)
    );
    assert_eq!(verdict(vec![link("a", "")]), Err(Reason::BadTarget));
    assert_eq!(verdict(vec![link("a", "b\nc")]), Err(Reason::BadTarget));
    // Each link names the one before it twice: 2^60 steps if followed blindly.
    let bomb = (1..60)
        .map(|n| link(&format!("l{n}"), &format!("l{p}/../l{p}", p = n - 1)))
        .collect();
    assert_eq!(verdict(bomb), Err(Reason::LinkLoop));
}

#[test]
fn limits_hold() {
    let manifest = ContextManifest::new(vec![file("a", "123"), file("b", "456")]);
    let verdict = |entries, total_size| {
        manifest
            .validate(&ContextLimits { entries, total_size })
            .map_err(|e| e.reason)
    };
    assert_eq!(verdict(2, 6), Ok(()));
    assert_eq!(verdict(1, 6), Err(Reason::TooMany { count: 2, limit: 1 }));
    assert_eq!(verdict(2, 5), Err(Reason::TooLarge { size: 6, limit: 5 }));
    let mut huge = file("z", "");
    if let EntryKind::File { size, .. } = &mut huge.kind {
        *size = u64::MAX;
    }
    let huge = ContextManifest::new(vec![file("a", "1"), huge]);
    assert!(
        huge.validate(&ContextLimits::default()).is_err(),
        "the sum must not wrap"
    );
}

#[test]
fn a_manifest_survives_json() {
    let manifest = ContextManifest::new(vec![file("a", "1"), link("l", "a"), folder("d")]);
    let text = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<ContextManifest>(&text).unwrap(), manifest);
    assert!(text.contains(r#"{"path":"d","kind":"directory"}"#), "{text}");
}

#[test]
fn frames_come_out_as_they_went_in_however_they_are_cut() {
    let contents = ["", "hello", &"x".repeat(1000)];
    let mut stream = Vec::new();
    for content in contents {
        let sha = HEXLOWER.encode(&Sha256::digest(content));
        stream.extend_from_slice(&frame_header(&sha, content.len() as u64).unwrap());
        stream.extend_from_slice(content.as_bytes());
    }
    for piece in [1, 7, 72, 73, 5000] {
        let mut decoder = FrameDecoder::new();
        let mut found: Vec<(String, u64, Vec<u8>, bool)> = Vec::new();
        for mut input in stream.chunks(piece) {
            while let Some(event) = decoder.next(&mut input).unwrap() {
                match event {
                    FrameEvent::Begin { sha256, size } => found.push((sha256, size, Vec::new(), false)),
                    FrameEvent::Data(data) => found.last_mut().unwrap().2.extend_from_slice(data),
                    FrameEvent::End => found.last_mut().unwrap().3 = true,
                }
            }
        }
        decoder.finish().unwrap();
        assert_eq!(found.len(), contents.len());
        for (content, (sha, size, data, ended)) in contents.iter().zip(&found) {
            assert_eq!(data, content.as_bytes());
            assert_eq!(*size, content.len() as u64);
            assert_eq!(*sha, HEXLOWER.encode(&Sha256::digest(content)));
            assert!(ended);
        }
    }
}

#[test]
fn a_stream_that_is_cut_off_or_no_stream_is_said_so() {
    let sha = HEXLOWER.encode(&Sha256::digest("hello"));
    let mut stream = frame_header(&sha, 5).unwrap().to_vec();
    stream.extend_from_slice(b"hell");
    let mut decoder = FrameDecoder::new();
    let mut input = stream.as_slice();
    while decoder.next(&mut input).unwrap().is_some() {}
    assert_eq!(decoder.finish(), Err(FrameError::CutOff));

    let mut decoder = FrameDecoder::new();
    let junk = [b'Z'; 100];
    assert_eq!(decoder.next(&mut junk.as_slice()), Err(FrameError::NotADigest));
    assert!(frame_header("short", 1).is_none());
}

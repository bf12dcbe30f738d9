//! The holder: a process of its own that keeps the pipes' reading ends and
//! moves what comes out of them into spools. It outlives Nonna.
//!
//! One thread reads and never waits for a disk; another writes. What the disk
//! does not take waits in memory up to a bound; what comes beyond is dropped and
//! counted, for an app must not wait.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::{Errno, ioctl_fionread, read};
use rustix::pipe::fcntl_setpipe_size;

use super::frame::{self, Dropped, HEADER, Kind};
use super::spool::Spools;
use super::{ERR, LOCK, OUT, PIPES, STOP, spool_of};

/// How much a pipe may hold: as much as may be asked for without a right.
const PIPE_BYTES: usize = 1024 * 1024;
/// The pause between two looks at pipes that are written: a busy app costs few
/// system calls, and a pipe is not filled so soon.
const PAUSE: Duration = Duration::from_millis(4);
/// A pipe with so much in it is read on without a pause.
const MUCH: usize = PIPE_BYTES / 4;
/// A pipe that was empty so often is left to the kernel to tell of.
const EMPTY: u32 = 16;
/// So much may wait in memory for a disk.
const WAITING: usize = 8 * 1024 * 1024;
/// Where that is full, pipes are left alone for a moment before anything is
/// dropped: the disk may only be busy, and a pipe holds a little more. An app
/// never waits longer than this …
const LEAVE: Duration = Duration::from_millis(6);
/// … and not more than so much of this time.
const LEAVE_MOST: Duration = Duration::from_millis(25);
const LEAVE_WITHIN: Duration = Duration::from_millis(100);
/// The folder is looked at so often, should the kernel not tell.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How a holder works.
#[derive(Debug, Clone, Copy)]
pub struct HolderOptions {
    /// How many bytes all spools may take together; one may take half of it.
    pub quota: u64,
}

impl Default for HolderOptions {
    fn default() -> Self {
        Self {
            quota: 256 * 1024 * 1024,
        }
    }
}

/// Is the holder of a folder's pipes, until another takes over or the folder
/// is gone. Where there is a holder already, this one takes over from it:
/// both have the pipes open for a moment, so that nothing is lost.
///
/// # Errors
/// Where the folder cannot be read or watched.
pub fn hold(root: &Path, options: HolderOptions) -> io::Result<()> {
    let mut reader = Reader::new(root)?;
    reader.scan()?;
    let lock = take_over(root)?;
    let queue = Arc::clone(&reader.queue);
    let writer = std::thread::Builder::new()
        .name("output-spool".to_owned())
        .stack_size(128 * 1024)
        .spawn(move || write(&queue, options.quota))?;
    let result = reader.run();
    reader.queue.lock().closed = true;
    reader.queue.filled.notify_all();
    let _ = writer.join();
    drop(lock);
    result
}

/// The file that whoever is the holder has locked.
pub(super) fn lock_file(root: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(root.join(LOCK))
}

/// Waits until this is the only holder.
fn take_over(root: &Path) -> io::Result<File> {
    let lock = lock_file(root)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        fs::write(root.join(STOP), [])?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        }
    }
    match fs::remove_file(root.join(STOP)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(lock)
}

/// What goes from the reader to the writer.
enum Piece {
    /// Output, behind room for a frame's header.
    Data(Vec<u8>),
    Dropped(Dropped),
    Closed,
    /// The container is gone.
    Gone,
}

struct Item {
    spool: Arc<Path>,
    stderr: bool,
    time: i64,
    piece: Piece,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> i64 {
    crate::store::now()
}

fn write(queue: &Queue, quota: u64) {
    let mut spools = Spools::new(quota);
    loop {
        let mut waiting = queue.lock();
        while waiting.items.is_empty() && !waiting.closed {
            let wait = if spools.owes() { PAUSE * 25 } else { LOOK_EVERY };
            let (back, timeout) = queue
                .filled
                .wait_timeout(waiting, wait)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = back;
            if timeout.timed_out() && spools.owes() {
                drop(waiting);
                spools.tell_drops(now());
                waiting = queue.lock();
            }
        }
        if waiting.items.is_empty() {
            return;
        }
        let items = std::mem::take(&mut waiting.items);
        drop(waiting);
        for item in items {
            let Item {
                spool,
                stderr,
                time,
                piece,
            } = item;
            match piece {
                Piece::Data(mut buffer) => {
                    frame::seal(&mut buffer, Kind::Data, stderr, time);
                    spools.data(&spool, stderr, time, &buffer);
                    queue.lock().bytes -= buffer.len();
                }
                Piece::Dropped(dropped) => spools.dropped(&spool, stderr, dropped),
                Piece::Closed => spools.closed(&spool, stderr, time),
                Piece::Gone => spools.forget(&spool),
            }
        }
    }
}

struct Pipe {
    container: Arc<Path>,
    spool: Arc<Path>,
    stderr: bool,
    fd: OwnedFd,
    /// It is looked at, and not left to the kernel to tell of.
    active: bool,
    empty: u32,
    /// There was output since the last writer ended.
    open: bool,
    dropped: Dropped,
}

/// What reading a pipe found.
enum Found {
    Bytes(usize),
    Empty,
    /// Nobody has it open for writing.
    Closed,
}

/// How long pipes were left alone because the disk did not take what came.
struct Leave {
    since: Option<Instant>,
    window: Instant,
    left: Duration,
}

impl Leave {
    /// Whether pipes are to be left alone now.
    fn now(&mut self, is_full: bool) -> bool {
        let now = Instant::now();
        if now.duration_since(self.window) >= LEAVE_WITHIN {
            self.window = now;
            self.left = Duration::ZERO;
        }
        if !is_full {
            if let Some(since) = self.since.take() {
                self.left += (now - since).min(LEAVE);
            }
            return false;
        }
        let since = *self.since.get_or_insert(now);
        // From then on it is dropped, until there is room.
        now - since < LEAVE && self.left < LEAVE_MOST
    }
}

struct Reader {
    root: PathBuf,
    leave: Leave,
    epoll: OwnedFd,
    inotify: OwnedFd,
    pipes: HashMap<u64, Pipe>,
    next: u64,
    queue: Arc<Queue>,
    looked: Instant,
}

/// What the kernel calls the folder's watch.
const FOLDER: u64 = 0;

impl Reader {
    fn new(root: &Path) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF;
        inotify::add_watch(&inotify, root, flags)?;
        epoll::add(
            &epoll,
            &inotify,
            epoll::EventData::new_u64(FOLDER),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            root: root.to_owned(),
            leave: Leave {
                since: None,
                window: Instant::now(),
                left: Duration::ZERO,
            },
            epoll,
            inotify,
            pipes: HashMap::new(),
            next: FOLDER + 1,
            queue: Arc::default(),
            looked: Instant::now(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        loop {
            let busy = self.pipes.values().any(|pipe| pipe.active);
            let wait = if busy { Duration::ZERO } else { LOOK_EVERY };
            let wait = Timespec::try_from(wait).ok();
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut changed = self.looked.elapsed() >= LOOK_EVERY;
            for event in &events {
                match event.data.u64() {
                    FOLDER => changed = true,
                    pipe => self.wake(pipe)?,
                }
            }
            if changed {
                self.looked = Instant::now();
                self.drain_events();
                if self.root.join(STOP).exists() {
                    self.look()?;
                    return Ok(());
                }
                if !self.root.exists() {
                    return Ok(());
                }
                self.scan()?;
            }
            let is_full = self.queue.lock().bytes + PIPE_BYTES > WAITING;
            if self.leave.now(is_full) {
                std::thread::sleep(LEAVE / 6);
                continue;
            }
            if !self.look()? && self.pipes.values().any(|pipe| pipe.active) {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// A pipe that was quiet has something to tell.
    fn wake(&mut self, number: u64) -> io::Result<()> {
        let Some(pipe) = self.pipes.get_mut(&number) else {
            return Ok(());
        };
        match pipe.read(&self.queue)? {
            // The kernel tells once that nobody has it open, and again when
            // somebody writes.
            Found::Closed | Found::Empty => {}
            Found::Bytes(_) => {
                epoll::delete(&self.epoll, &pipe.fd)?;
                pipe.active = true;
                pipe.empty = 0;
            }
        }
        Ok(())
    }

    /// Reads all pipes that are written; whether there is more at once.
    fn look(&mut self) -> io::Result<bool> {
        let mut more = false;
        for (number, pipe) in &mut self.pipes {
            if !pipe.active {
                continue;
            }
            match pipe.read(&self.queue)? {
                Found::Bytes(bytes) => {
                    pipe.empty = 0;
                    more |= bytes >= MUCH;
                    continue;
                }
                Found::Empty => pipe.empty += 1,
                Found::Closed => pipe.empty = EMPTY,
            }
            if pipe.empty >= EMPTY {
                pipe.active = false;
                add(&self.epoll, *number, &pipe.fd)?;
            }
        }
        Ok(more)
    }

    /// Finds new containers and lets go of those that are gone.
    fn scan(&mut self) -> io::Result<()> {
        let mut there = HashSet::new();
        for entry in fs::read_dir(&self.root)? {
            let container: Arc<Path> = entry?.path().into();
            let known = self.pipes.values().any(|pipe| pipe.container == container);
            if known || self.open(&container)? {
                there.insert(container);
            }
        }
        let gone: HashSet<_> = self
            .pipes
            .values()
            .filter(|pipe| !there.contains(&pipe.container))
            .map(|pipe| Arc::clone(&pipe.spool))
            .collect();
        self.pipes.retain(|_, pipe| there.contains(&pipe.container));
        for spool in gone {
            self.push(Item {
                spool,
                stderr: false,
                time: 0,
                piece: Piece::Gone,
            });
        }
        Ok(())
    }

    fn push(&self, item: Item) {
        self.queue.lock().items.push_back(item);
        self.queue.filled.notify_one();
    }

    /// Opens a container's pipes; false for a folder that has none.
    fn open(&mut self, container: &Arc<Path>) -> io::Result<bool> {
        let pipes = container.join(PIPES);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = |name: &str| rustix::fs::open(pipes.join(name), flags, Mode::empty());
        let (Ok(out), Ok(err)) = (open(OUT), open(ERR)) else {
            return Ok(false);
        };
        for (stderr, fd) in [(false, out), (true, err)] {
            // Many pipes of one user may have to be smaller.
            let mut bytes = PIPE_BYTES;
            while bytes > 64 * 1024 && fcntl_setpipe_size(&fd, bytes).is_err() {
                bytes /= 2;
            }
            let number = self.next;
            self.next += 1;
            add(&self.epoll, number, &fd)?;
            let pipe = Pipe {
                container: Arc::clone(container),
                spool: spool_of(container).into(),
                stderr,
                fd,
                active: false,
                empty: 0,
                open: false,
                dropped: Dropped::default(),
            };
            self.pipes.insert(number, pipe);
        }
        Ok(true)
    }

    fn drain_events(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        while events.next().is_ok() {}
    }
}

/// Has the kernel tell of a pipe: of each change once.
fn add(epoll: &OwnedFd, number: u64, fd: &OwnedFd) -> io::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(epoll, fd, epoll::EventData::new_u64(number), flags)?;
    Ok(())
}

impl Pipe {
    /// Takes out what is in it, up to a frame's worth.
    fn read(&mut self, queue: &Queue) -> io::Result<Found> {
        let there = usize::try_from(ioctl_fionread(&self.fd)?).unwrap_or(usize::MAX);
        let room = there.clamp(4096, frame::LONGEST);
        let mut buffer = Vec::with_capacity(HEADER + room);
        buffer.resize(HEADER, 0);
        let bytes = match read(&self.fd, spare_capacity(&mut buffer)) {
            Ok(0) => {
                self.tell_dropped(queue);
                if std::mem::take(&mut self.open) {
                    self.push(queue, Piece::Closed);
                }
                return Ok(Found::Closed);
            }
            Ok(bytes) => bytes,
            Err(Errno::AGAIN | Errno::INTR) => {
                self.tell_dropped(queue);
                return Ok(Found::Empty);
            }
            Err(error) => return Err(error.into()),
        };
        self.open = true;
        // Little came: do not keep room for much.
        if buffer.len() * 2 < buffer.capacity() {
            buffer.shrink_to_fit();
        }
        let fits = {
            let mut waiting = queue.lock();
            let fits = waiting.bytes + buffer.len() <= WAITING;
            if fits {
                waiting.bytes += buffer.len();
            }
            fits
        };
        if !fits {
            self.dropped.add(&buffer[HEADER..]);
            return Ok(Found::Bytes(bytes));
        }
        self.tell_dropped(queue);
        self.push(queue, Piece::Data(buffer));
        Ok(Found::Bytes(bytes))
    }

    fn tell_dropped(&mut self, queue: &Queue) {
        let dropped = std::mem::take(&mut self.dropped);
        if !dropped.is_nothing() {
            self.push(queue, Piece::Dropped(dropped));
        }
    }

    fn push(&self, queue: &Queue, piece: Piece) {
        queue.lock().items.push_back(Item {
            spool: Arc::clone(&self.spool),
            stderr: self.stderr,
            time: now(),
            piece,
        });
        queue.filled.notify_one();
    }
}

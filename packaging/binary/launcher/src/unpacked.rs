//! The copy on disk of what is embedded.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::archive::{self, Damaged, Entry, Group};
use crate::places;

/// SHA-256 of manifest and contents, in hexadecimal.
const DIGEST: &str = env!("SQSUPER_DIGEST");
const VERSION: &str = env!("SQSUPER_VERSION");

/// Every file's time: one that was written to later is not as we left it.
const WRITTEN: Duration = Duration::from_secs(1_000_000_000);
const LOCK: &str = ".lock";
/// How names begin of what a start that was killed may leave.
const UNFINISHED: &str = ".unpacking-";
const REPLACED: &str = ".replaced-";
/// A file system lets no more make files side by side.
const THREADS: usize = 4;

/// Why there is no copy.
pub enum Problem {
    /// It is the program's own file: no other place helps.
    Damaged(Damaged),
    /// It is this place.
    Place(String),
}

impl From<Damaged> for Problem {
    fn from(damaged: Damaged) -> Self {
        Problem::Damaged(damaged)
    }
}

impl From<String> for Problem {
    fn from(cause: String) -> Self {
        Problem::Place(cause)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Problem::Place(error.to_string())
    }
}

/// Return the directory of this version's files in `base`, which is private to this user;
/// unpack them if they are not there, or not as they were. `try_out` judges a new copy.
pub fn unpacked(
    base: &Path,
    try_out: impl Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, Problem> {
    let groups = archive::groups()?;
    let directory = base.join(format!("{VERSION}-{}", &DIGEST[..16]));
    if is_whole(&groups, &directory) {
        return Ok(directory);
    }
    // Of several first starts at a time one unpacks, and the others wait for it.
    let lock = places::lock(&base.join(LOCK)).map_err(|error| format!("{LOCK}: {error}"))?;
    if !is_whole(&groups, &directory) {
        sweep(base);
        let number = std::process::id();
        let new = base.join(format!("{UNFINISHED}{number}"));
        let old = base.join(format!("{REPLACED}{number}"));
        let made = write_all(&groups, &new)
            .and_then(|()| Ok(try_out(&new)?))
            .and_then(|()| Ok(put_in_place(&new, &directory, &old)?));
        sweep(base);
        made?;
    }
    drop(lock);
    Ok(directory)
}

fn entries(groups: &[Group]) -> impl Iterator<Item = &Entry> {
    groups.iter().flat_map(|group| &group.entries)
}

/// Whether every file is there with our mode, size and time, and nobody else's.
fn is_whole(groups: &[Group], directory: &Path) -> bool {
    places::is_private(directory).is_ok()
        && entries(groups).all(|entry| {
            fs::symlink_metadata(directory.join(&entry.path)).is_ok_and(|found| {
                found.is_file()
                    && found.len() == entry.size as u64
                    && found
                        .modified()
                        .is_ok_and(|at| at == SystemTime::UNIX_EPOCH + WRITTEN)
                    && places::has_mode(&found, entry.mode)
            })
        })
}

fn write_all(groups: &[Group], directory: &Path) -> Result<(), Problem> {
    make_directories(groups, directory)?;
    let next = AtomicUsize::new(0);
    // Where one has failed, the others end with the group they are at.
    let work = || {
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = write_group(group, directory) {
                next.store(groups.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        // A thread that the system does not give is done without.
        let others: Vec<_> = (1..threads.min(THREADS))
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
            .collect();
        let own = work();
        others
            .into_iter()
            .map(|other| other.join().expect("a panic ends the process"))
            .fold(own, Result::and)
    })
}

fn make_directories(groups: &[Group], directory: &Path) -> io::Result<()> {
    places::make_private(directory)?;
    let mut parent = PathBuf::new();
    for entry in entries(groups) {
        let path = directory.join(&entry.path);
        let holds = path.parent().expect("it is below `directory`");
        if holds != parent {
            parent = holds.to_owned();
            places::make_private_below(directory, holds)?;
        }
    }
    Ok(())
}

fn write_group(group: &Group, directory: &Path) -> Result<(), Problem> {
    let text = group.unpack()?;
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + WRITTEN);
    let mut rest = text.as_slice();
    let mut write = |entry: &Entry| {
        let (own, others) = rest
            .split_at_checked(entry.size)
            .ok_or_else(|| io::Error::other("the manifest is not of these contents"))?;
        rest = others;
        let mut file = places::opening(entry.mode).open(directory.join(&entry.path))?;
        file.write_all(own)?;
        file.set_times(times)
    };
    Ok(group.entries.iter().try_for_each(&mut write)?)
}

fn put_in_place(new: &Path, directory: &Path, old: &Path) -> io::Result<()> {
    // Programs that run from a damaged copy find the same names in the new one.
    match fs::rename(directory, old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(new, directory)
}

/// Remove what starts left that were killed; the lock is ours, so nobody is at it.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(UNFINISHED) || name.starts_with(REPLACED) {
            let path = entry.path();
            if fs::remove_dir_all(&path).is_err() {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

/// Open a lock's file and wait until it is ours.
pub fn wait_for(file: File) -> io::Result<File> {
    file.lock()?;
    Ok(file)
}

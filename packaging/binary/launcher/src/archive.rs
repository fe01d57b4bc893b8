//! What is embedded, and its copy on disk.
//!
//! The manifest has a line for each file, `MODE SIZE PATH` (octal, decimal, `/` between names);
//! the contents are all files behind one another, in that order, as one Zstandard frame.

use std::fs::{self, File, FileTimes};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::places;

static MANIFEST: &str = include_str!(env!("SQSUPER_MANIFEST"));
static CONTENTS: &[u8] = include_bytes!(env!("SQSUPER_CONTENTS"));
/// SHA-256 of both, in that order, in hexadecimal.
const DIGEST: &str = env!("SQSUPER_DIGEST");
const VERSION: &str = env!("SQSUPER_VERSION");

/// Every file's time: one that was written to later is not as we left it.
const WRITTEN: Duration = Duration::from_secs(1_000_000_000);
const LOCK: &str = ".lock";
/// How names begin of what a start that was killed may leave.
const UNFINISHED: &str = ".unpacking-";
const REPLACED: &str = ".replaced-";

struct Entry {
    mode: u32,
    size: u64,
    path: &'static str,
}

fn entries() -> impl Iterator<Item = Entry> {
    MANIFEST.lines().map(|line| {
        let mut fields = line.splitn(3, ' ');
        let mut field = || fields.next().expect("a manifest's line has three fields");
        Entry {
            mode: u32::from_str_radix(field(), 8).expect("an octal mode"),
            size: field().parse().expect("a size"),
            path: field(),
        }
    })
}

/// Return the directory of this version's files in `base`, which is private to this user;
/// unpack them if they are not there, or not as they were. `try_out` judges a new copy.
pub fn unpacked(
    base: &Path,
    try_out: impl Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let directory = base.join(format!("{VERSION}-{}", &DIGEST[..16]));
    if is_whole(&directory) {
        return Ok(directory);
    }
    // Of several first starts at a time one unpacks, and the others wait for it.
    let lock = places::lock(&base.join(LOCK)).map_err(|error| format!("{LOCK}: {error}"))?;
    if !is_whole(&directory) {
        sweep(base);
        let number = std::process::id();
        let new = base.join(format!("{UNFINISHED}{number}"));
        let old = base.join(format!("{REPLACED}{number}"));
        let made = unpack(&new)
            .and_then(|()| try_out(&new))
            .and_then(|()| put_in_place(&new, &directory, &old).map_err(|error| error.to_string()));
        sweep(base);
        made?;
    }
    drop(lock);
    Ok(directory)
}

/// Whether every file is there with our mode, size and time, and nobody else's.
fn is_whole(directory: &Path) -> bool {
    places::is_private(directory).is_ok()
        && entries().all(|entry| {
            fs::symlink_metadata(directory.join(entry.path)).is_ok_and(|found| {
                found.is_file()
                    && found.len() == entry.size
                    && found
                        .modified()
                        .is_ok_and(|at| at == SystemTime::UNIX_EPOCH + WRITTEN)
                    && places::has_mode(&found, entry.mode)
            })
        })
}

fn unpack(directory: &Path) -> Result<(), String> {
    let mut digest = Sha256::new();
    digest.update(MANIFEST);
    digest.update(CONTENTS);
    let found: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found != DIGEST {
        return Err("this program's file is damaged: download it again".to_owned());
    }
    let mut contents = ruzstd::decoding::StreamingDecoder::new(CONTENTS)
        .map_err(|error| format!("this program's file is damaged: {error}"))?;
    write_all(directory, &mut contents).map_err(|error| error.to_string())
}

fn write_all(directory: &Path, contents: &mut impl Read) -> io::Result<()> {
    places::make_private(directory)?;
    let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + WRITTEN);
    let mut parent = PathBuf::new();
    let mut text = Vec::new();
    for entry in entries() {
        let path = directory.join(entry.path);
        let holds = path.parent().expect("it is below `directory`");
        if holds != parent {
            parent = holds.to_owned();
            places::make_private_below(directory, holds)?;
        }
        text.resize(usize::try_from(entry.size).map_err(io::Error::other)?, 0);
        contents.read_exact(&mut text)?;
        let mut file = places::opening(entry.mode).open(&path)?;
        file.write_all(&text)?;
        file.set_times(times)?;
    }
    Ok(())
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

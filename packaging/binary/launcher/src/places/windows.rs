//! On Windows what is below the user's profile is private to the user.

use std::env;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::absolute;

/// Return the directory where the user's caches are, and our name in there.
pub fn home_cache() -> Option<(PathBuf, PathBuf)> {
    Some((absolute("LOCALAPPDATA")?, "sqsuper".into()))
}

/// Return the directories for temporary files.
pub fn temporary() -> Vec<PathBuf> {
    vec![env::temp_dir()]
}

/// Return our directory's name in the user's directory for temporary files.
pub fn name_in_temporary() -> String {
    "sqsuper".to_owned()
}

pub fn trusted(directory: &Path) -> Result<PathBuf, String> {
    directory.canonicalize().map_err(|error| error.to_string())
}

pub fn is_private(directory: &Path) -> Result<(), String> {
    let found = fs::symlink_metadata(directory).map_err(|error| error.to_string())?;
    if found.is_dir() {
        Ok(())
    } else {
        Err("it is no directory".to_owned())
    }
}

pub fn has_mode(_found: &Metadata, _mode: u32) -> bool {
    true
}

pub fn opening(_mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options
}

pub fn with_plain_umask<T>(work: impl FnOnce() -> T) -> T {
    work()
}

pub fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory)
}

pub fn make_private_below(_root: &Path, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

/// Make a directory in `within` that was not there.
pub fn make_unforeseen(within: &Path) -> io::Result<PathBuf> {
    let made = within.join(format!("sqsuper-{}", std::process::id()));
    fs::create_dir(&made)?;
    Ok(made)
}

/// Take the lock at `path` for as long as the file is open.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    crate::unpacked::wait_for(file)
}

//! Ownership and modes decide on Unix.

use std::env;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::absolute;

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

fn user() -> u32 {
    // SAFETY: it has no arguments, and cannot fail.
    unsafe { libc::geteuid() }
}

/// Return the directory where the user's caches are, and our name in there.
pub fn home_cache() -> Option<(PathBuf, PathBuf)> {
    // A service may have no $HOME; what it runs from must outlast the clearing of /tmp.
    let home = match env::var_os("HOME") {
        Some(_) => absolute("HOME"),
        None => listed_home(),
    };
    Some((home?, ".cache/sqsuper".into()))
}

/// Return the user's home directory in the system's own list of users.
fn listed_home() -> Option<PathBuf> {
    let users = fs::read("/etc/passwd").ok()?;
    let users = String::from_utf8_lossy(&users);
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let found = fields.get(2)?.parse() == Ok(user());
        let home = PathBuf::from(fields.get(5)?);
        (found && home.is_absolute()).then_some(home)
    })
}

/// Return the directories for temporary files.
pub fn temporary() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = absolute("TMPDIR").into_iter().collect();
    for usual in ["/tmp", "/var/tmp"] {
        if !found.iter().any(|one| one == Path::new(usual)) {
            found.push(usual.into());
        }
    }
    found
}

/// Return our directory's name in a place that all users share.
pub fn name_in_temporary() -> String {
    format!("sqsuper-{}", user())
}

/// Return `directory` without links, if nobody but this user and root could exchange anything
/// on the way to it or in it: a directory of theirs that others can write to must be sticky.
pub fn trusted(directory: &Path) -> Result<PathBuf, String> {
    let real = directory
        .canonicalize()
        .map_err(|error| error.to_string())?;
    let roots = fs::metadata("/").map_err(|error| error.to_string())?.uid();
    for step in real.ancestors() {
        let found = fs::symlink_metadata(step).map_err(|error| error.to_string())?;
        if !found.is_dir() {
            return Err(format!("{} is no directory", step.display()));
        }
        // In a user namespace root may have another number; whoever has `/` can exchange all.
        if ![0, roots, user()].contains(&found.uid()) {
            return Err(format!("{} is another user's", step.display()));
        }
        if found.mode() & WRITABLE_BY_OTHERS != 0 && found.mode() & STICKY == 0 {
            return Err(format!("others can write to {}", step.display()));
        }
    }
    Ok(real)
}

/// Whether `directory` is one (no link), this user's, and closed to all others.
pub fn is_private(directory: &Path) -> Result<(), String> {
    let found = fs::symlink_metadata(directory).map_err(|error| error.to_string())?;
    if !found.is_dir() {
        Err("it is no directory".to_owned())
    } else if found.uid() != user() {
        Err("it is another user's".to_owned())
    } else if found.mode() & 0o7777 != 0o700 {
        Err(format!("its mode is {:o}, not 700", found.mode() & 0o7777))
    } else {
        Ok(())
    }
}

/// Whether a file is this user's and has just this mode.
pub fn has_mode(found: &Metadata, mode: u32) -> bool {
    found.uid() == user() && found.mode() & 0o7777 == mode
}

/// Return how a new file is opened that shall have this mode.
pub fn opening(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    options
}

/// Run `work` with a umask that takes nothing from the user; what is started later has its own.
pub fn with_plain_umask<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: it cannot fail; there is one thread now, and those that `work` starts it ends.
    let before = unsafe { libc::umask(0o077) };
    let result = work();
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    result
}

/// Make one directory for this user alone.
pub fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)
}

/// Make `directory` and what is missing of its parents, all of them below `root`.
pub fn make_private_below(root: &Path, directory: &Path) -> io::Result<()> {
    if directory == root || directory.is_dir() {
        return Ok(());
    }
    make_private_below(root, directory.parent().expect("it is below `root`"))?;
    make_private(directory)
}

/// Make a directory in `within` with a name nobody can foresee.
pub fn make_unforeseen(within: &Path) -> io::Result<PathBuf> {
    use std::ffi::{CString, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    let template = within.join("sqsuper-XXXXXX");
    let template = CString::new(template.as_os_str().as_bytes())?.into_raw();
    // SAFETY: `template` is a zero-ended string of ours, which `mkdtemp` changes in place.
    let made = unsafe { libc::mkdtemp(template) };
    // SAFETY: it is what `into_raw` gave, of the same length.
    let name = unsafe { CString::from_raw(template) };
    if made.is_null() {
        return Err(io::Error::last_os_error());
    }
    Ok(OsString::from_vec(name.into_bytes()).into())
}

/// Take the lock at `path`, in a private directory, for as long as the file is open.
pub fn lock(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    crate::unpacked::wait_for(file)
}
